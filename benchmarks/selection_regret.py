"""Regret of the weights that a run keeps, against its best epoch on a large test set.

    python benchmarks/selection_regret.py [--start scratch] [--sets one] [--out FILE.csv]

Trains a small backbone on 60 drawn people with one flat mask, from pretrained or random weights,
and tests each epoch on many other people with the same mask. The regret of a rule is the test UAR
of the best epoch minus that of the weights it keeps, which no rule can bring to 0: the best epoch
is chosen on the test set. Drawings are no evidence about people; only rules on the same runs are
compared. Each seed has drawn sets of its own, or (`--sets one`) all have the same.
`selection_regret.csv` has the results that `docs/recipes.md` names.
"""

import argparse
import csv
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timing  # noqa: F401  first: it pins the threads
from drawn_runs import (
    PRETRAINING,
    draw_pretraining_people,
    own_places,
    pixels,
    registered,
    train,
    uar,
)

from fer.config.load import load_run
from fer.config.run import RunConfig
from fer.study.inputs import draw_missing_faces
from fer.train.callbacks import Callbacks
from fer.train.checkpoint import TRAINING, Checkpoints, load_weights
from fer.train.context import new_model
from fer.train.distributed import open_session
from fer.train.ema import set_state
from fer.train.run_tasks import Task
from fer.train.setup import training_source

PICTURES = {60: 150}  # people in training and validation -> drawn pictures
SETTINGS = {"backbone": "cbam_tiny", "backbone.input_size": 32, "train_on": "mlfw",
            "train.batch_size": 16, "keep.tensorboard": False, "train.select": "average"}
STARTS = {"pretrained": {"recipe": "imagenet_full", "train.epochs": 15},
          "scratch": {"recipe": "scratch", "train.epochs": 60}}
DRAWN = 1234  # seed of the first drawn sets
RULES = ("best", "last", "average")


@dataclass
class Curve:
    """UAR after each epoch, and of the weights that `select: average` keeps."""

    val: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    average: float = 0.0

    def regrets(self) -> dict[str, float]:
        """Return the regret of each rule, in points of UAR."""
        kept = {"best": self.test[int(np.argmax(self.val))], "last": self.test[-1],
                "average": self.average}
        return {rule: 100 * (max(*self.test, *kept.values()) - kept[rule]) for rule in RULES}


def configured(pictures: int, seed: int, tested: int, settings: Mapping[str, Any], drawn: int
               ) -> RunConfig:
    """Return a configuration on the sets drawn from seed `drawn`; pretraining's are shared."""
    folder = f"drawn{pictures}-{drawn}"
    sets = {name: {"folder": f"{PRETRAINING if name == 'people' else folder}/drawn/{place}",
                   **({"twin_of": "lfw"} if name == "mlfw" else {})}
            for name, place in (("lfw", "LFW-FER"), ("mlfw", "M-LFW-FER"),
                                ("people", "PEOPLE-FER"))}
    return load_run("configs/drawn.yaml", {
        **SETTINGS, "seed": seed, "data.sets": sets, "data.drawn": {
            "seed": drawn, "lfw_train": pictures, "lfw_eval": tested, "real_test": 3,
            "people_train": 3},
        **settings})


def trained(config: RunConfig, split: str = "mlfw/eval") -> Curve:
    """Train a run and return its curves."""
    assert config.data.drawn is not None
    folder_of_sets = Path(config.data.sets["lfw"].folder).parts[0]
    draw_missing_faces(config.data, Path(os.environ["FER_DATA"]) / folder_of_sets, [])
    draw_pretraining_people(600)
    folder = registered(config)
    with open_session(config.compute) as session:
        val = training_source(folder.config, "val", session)
        model, _ = new_model(config, session)
    test = pixels(config, split)
    curve = Curve()

    def after_epoch(facts: Mapping[str, Any], finished: bool) -> bool:
        newest = Checkpoints(folder.path / "checkpoints", 2).newest()
        assert newest is not None
        load_weights(newest[0], model)
        if finished:
            curve.average = uar(model, test)
        if (newest[0] / TRAINING).is_file():
            from safetensors.torch import load_file

            set_state(model, load_file(newest[0] / TRAINING))
        curve.val.append(uar(model, val))
        curve.test.append(uar(model, test))
        return False

    train(Task(folder.path), Callbacks(after_epoch=after_epoch))
    return curve


def main() -> None:
    """Print the mean regret of each rule, and write one line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--people", type=int, default=60, choices=PICTURES)
    parser.add_argument("--tested", type=int, default=450)
    parser.add_argument("--start", default="pretrained", choices=STARTS)
    parser.add_argument("--sets", default="each", choices=("each", "one"))
    parser.add_argument("--epochs", type=int, help="default: 15 from pretrained weights, else 60")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    settings = {**STARTS[asked.start], **({"train.epochs": asked.epochs} if asked.epochs else {})}
    lines: list[dict[str, Any]] = []
    with own_places():
        for seed in range(asked.seeds):
            drawn = DRAWN + (seed if asked.sets == "each" else 0)
            curve = trained(configured(PICTURES[asked.people], seed, asked.tested, settings, drawn))
            lines.append({"start": asked.start, "sets": asked.sets,
                          "epochs": settings["train.epochs"], "seed": seed,
                          "best_test": round(max(curve.test), 4), **{
                              rule: round(value, 2) for rule, value in curve.regrets().items()}})
            print(lines[-1], file=sys.stderr, flush=True)
            if asked.out:
                with open(asked.out, "w", encoding="utf-8", newline="") as handle:
                    writer = csv.DictWriter(handle, lines[0])
                    writer.writeheader()
                    writer.writerows(lines)
    for rule in RULES:
        found = np.array([line[rule] for line in lines])
        print(f"{rule:8} mean regret {found.mean():.2f} points, largest {found.max():.1f} "
              f"({len(found)} seeds)")


if __name__ == "__main__":
    main()
