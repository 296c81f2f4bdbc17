"""The recommended recipe against the one recommended before, on drawn faces with few people.

    python benchmarks/recommended_gain.py --seeds 10 [--base configs/base.yaml] [--out FILE.csv]
        [--variant train.augment=strong]

Each seed draws 500 pictures of 50 people for training and validation; all are tested on the same
360 pictures with "real" masks and 800 with the flat one. Before: `lp_ft` on unmasked faces and
masks of nine styles, 50 epochs of a cosine that early stopping may cut, the best epoch of any phase
on validation. Now: `recommended`, 75 epochs. Both start from the same weights and have the learning
rate of the base: 5e-3 in `configs/drawn.yaml`, which the small network needs; 3e-4, the default for
pretrained weights, in `configs/base.yaml`. Prints the difference with its 95 % interval over people
and seeds, and the gap of each. Drawings are no evidence about people.
Ten seeds take about an hour of one core.
"""

import argparse
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import timing  # noqa: F401  first: it pins the threads
from drawn_runs import (
    PRETRAINING,
    SMALL,
    draw_people,
    draw_pretraining_people,
    own_places,
    predictions,
    registered,
    scores,
    write_rows,
)

from fer.config.load import load_run
from fer.config.run import DrawnFaces, RunConfig
from fer.config.yaml_io import parse_overrides
from fer.data.masks.landmarks import LandmarkSource
from fer.data.masks.masked_copy import Twin, write_twin
from fer.data.process_map import ProcessPool
from fer.evaluate.intervals import Interval, SeedSpread, SignedSum, contrast
from fer.evaluate.jackknife import jackknife
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions
from fer.study.inputs import draw_missing_faces

SYNTHETIC, REAL = "mlfw/eval", "real/test"
PICTURES, OF_EACH = 500, 10  # for training and validation, and of each person
DRAWN = 1234  # seed of the test sets, and before those of the others
BEFORE = {"recipe": "lp_ft", "train_on": "lfw+many", "train.epochs": 50, "train.select": "best",
          "train.best_over": "all_phases", "train.early_stop": 12}
NOW = {"recipe": "recommended", "train_on": "lfw", "train.epochs": 75,
       "train.masks.template": "drawn"}
SIDES = {"before": BEFORE, "recommended": NOW}
Found = dict[str, dict[str, dict[int, Predictions]]]  # side -> split -> seed -> predictions


def configured(side: str, base: str, seed: int, more: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a run on the sets of a seed."""
    own = f"seed{seed}"
    sets = {"lfw": {"folder": f"{own}/lfw"}, "real": {"folder": "test/drawn/REAL-FER"},
            "many": {"folder": f"{own}/many", "twin_of": "lfw"},
            "mlfw": {"folder": "test/drawn/M-LFW-FER"},
            "people": {"folder": f"{PRETRAINING}/drawn/PEOPLE-FER"}}
    return load_run(base, {
        **SMALL, "data.sets": sets, "seed": seed, **SIDES[side], **more})


def draw_sets(seed: int, pictures: int) -> None:
    """Draw the training pictures of a seed, and their copies in masks of nine styles."""
    root = Path(os.environ["FER_DATA"]) / f"seed{seed}"
    if root.is_dir():  # the first seed's were drawn for what all start from
        return
    faces = LandmarkSource(table=draw_people(root / "lfw", pictures, OF_EACH, DRAWN + 1 + seed))
    write_twin(Twin(root / "lfw", ("all",), seed, faces, "the drawing's own", ("train",)),
               root / "many")


def trained(base: str, pictures: int, more: Mapping[str, Mapping[str, Any]], seed: int
            ) -> dict[str, dict[str, Predictions]]:
    """Train both sides on the sets of a seed; return their predictions: side -> split -> table.

    Args:
        more: settings of each side.
    """
    draw_sets(seed, pictures)
    return {side: predictions(configured(side, base, seed, more[side]), (SYNTHETIC, REAL))
            for side in SIDES}


def differences(found: Found) -> Iterator[tuple[str, Interval]]:
    """Yield the gain on each set, the gap of each side, and the change of the gap: UAR."""
    cells = {(side, split): jackknife(tabulate(tables), "uar")
              for side, splits in found.items() for split, tables in splits.items()}
    for name, parts in {REAL: [(1.0, REAL)], SYNTHETIC: [(1.0, SYNTHETIC)],
                        "gap": [(1.0, SYNTHETIC), (-1.0, REAL)]}.items():
        sums = {side: SignedSum(tuple((sign, one) for sign, split in parts
                                      if (one := cells[side, split]) is not None))
                for side in SIDES}
        spread = SeedSpread.pooled(list(sums.values()))
        for side, one in sums.items():
            yield f"{name}, {side}", contrast([(1.0, one)], spread)
        yield f"{name}, recommended - before", contrast(
            [(1.0, sums["recommended"]), (-1.0, sums["before"])], spread)


def rows(base: str, found: Found) -> list[dict[str, Any]]:
    """Return the UAR of each run, a row each."""
    return [{"base": base, "side": side, "seed": seed,
             **scores({split: tables[seed] for split, tables in splits.items()})}
            for side, splits in found.items() for seed in splits[REAL]]


def main() -> None:
    """Print the differences after each seed, and write one line a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--base", default="configs/drawn.yaml", help="configuration of both")
    parser.add_argument("--variant", action="append", default=[], metavar="KEY=VALUE",
                        help="set in the recommended recipe")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="one epoch, small test sets")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    found: Found = {side: {SYNTHETIC: {}, REAL: {}} for side in SIDES}
    pictures, short = (100, {"train.epochs": 1}) if asked.quick else (PICTURES, {})
    more = {"before": short, "recommended": {**short, **parse_overrides(asked.variant)}}
    tests = DrawnFaces(seed=DRAWN, lfw_train=75, people_train=3, **(
        {"lfw_eval": 75, "real_test": 60} if asked.quick else {}))
    with own_places() as root:
        draw_pretraining_people(60 if asked.quick else 800)
        data = load_run("configs/drawn.yaml", {}).data.model_copy(update={"drawn": tests})
        draw_missing_faces(data, root / "FER_DATA" / "test", [])
        draw_sets(0, pictures)
        for side in SIDES:
            # trains what all seeds start from
            registered(configured(side, asked.base, 0, more[side]))
        with ProcessPool(asked.processes) as pool:
            for seed, sides in enumerate(pool.map(partial(trained, asked.base, pictures, more),
                                                  range(asked.seeds))):
                for side, splits in sides.items():
                    for split, predicted in splits.items():
                        found[side][split][seed] = predicted
                table = rows(asked.base, found)
                if asked.out:
                    write_rows(asked.out, table)
                print(*(row for row in table if row["seed"] == seed), flush=True)
                if seed:  # an interval over seeds takes two
                    for name, one in differences(found):
                        assert None not in (one.value, one.low, one.high)
                        print(f"{name:32} {one.value:6.3f} [{one.low:.3f}, {one.high:.3f}]",
                              flush=True)


if __name__ == "__main__":
    main()
