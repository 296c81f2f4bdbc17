"""Search for the defaults in `configs/starts`: learning rate and epochs by starting point.

    python benchmarks/default_search.py --start scratch --out default_search.csv

Trains a small backbone on drawn faces of 500 and of 2,000 pictures, of few people (50) and of many
(one per two pictures), under new masks of ten styles in each epoch, and tests the last epoch on 800
other pictures with the flat mask and on 360 with "real" masks. `scratch` trains everything from
random weights, `head_only` the head on features of the same network trained on other drawn people.
Drawings are no evidence about people, and a small network is none about a large one: the table
shows what is too low, too high or too short by far. All of it takes about half an hour of one core.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timing  # noqa: F401  first: it pins the threads
from drawn_runs import (
    SMALL,
    draw_people,
    own_places,
    predictions,
    registered,
    scores,
    write_rows,
)

from fer.config.load import load_run
from fer.config.run import DrawnFaces, RunConfig
from fer.data.process_map import ProcessPool
from fer.study.inputs import draw_missing_faces

SETS = {"500 of 50 people": (500, 10), "500 of 250 people": (500, 2),
        "2000 of 50 people": (2000, 40), "2000 of 1000 people": (2000, 2)}
"""Name -> pictures, and pictures of each person."""
GRIDS = {"scratch": ((1e-3, 2e-3, 4e-3, 5e-4, 8e-3), (25, 75)),
         "head_only": ((1e-3, 3e-3, 1e-2, 3e-4, 3e-2), (15, 50))}
"""Starting point -> learning rates and epochs."""
LARGE = 2000  # pictures; there only the first epochs, and there and with more epochs three rates
RECIPES = {"scratch": "scratch", "head_only": "linear_probe"}
TESTS = ("mlfw/eval", "real/test")
DRAWN, TRAINING = 4321, 8765  # seeds of the test sets and of the training sets


def configured(start: str, training: str, rate: float, epochs: int) -> RunConfig:
    """Return the configuration of a run; everything else is a default of the project."""
    sets = {"lfw": {"folder": training}, "mlfw": {"folder": "drawn/M-LFW-FER"},
            "real": {"folder": "drawn/REAL-FER"}, "people": {"folder": "drawn/PEOPLE-FER"}}
    return load_run("configs/base.yaml", {
        **SMALL, "recipe": RECIPES[start], "train_on": "lfw", "data.sets": sets,
        "train.masks.styles": ["all", "flat"], "train.masks.probability": 1.0,
        "train.masks.template": "drawn", "optim.lr": rate, "train.epochs": epochs})


def trained(start: str, training: str, rate: float, epochs: int) -> dict[str, Any]:
    """Train a run, with what it starts from; return its row."""
    found = predictions(configured(start, training, rate, epochs), TESTS)
    return {"start": start, "training set": training, "lr": rate, "epochs": epochs,
            **scores(found)}


def rows(starts: Mapping[str, Any], sets: Mapping[str, tuple[int, int]], others: DrawnFaces,
         processes: int) -> Iterator[dict[str, Any]]:
    """Yield the row of each run as it ends; `others` are the test sets and pretraining's people."""
    root = Path(os.environ["FER_DATA"])
    draw_missing_faces(load_run("configs/drawn.yaml", {}).data.model_copy(
        update={"drawn": others}), root, [])
    for name, (pictures, of_each) in sets.items():
        draw_people(root / name, pictures, of_each, TRAINING)
    jobs = [(start, training, rate, epochs) for start, (rates, lengths) in starts.items()
            for training, (pictures, _) in sets.items()
            for epochs, rate in product(lengths, rates)
            if rate in rates[:3] or (pictures < LARGE and epochs == lengths[0])
            if pictures < LARGE or epochs == lengths[0]]
    for first in {job[0]: job for job in jobs}.values():
        registered(configured(*first))  # trains what the others start from
    jobs.sort(key=lambda job: -sets[job[1]][0] * job[3])  # long ones first
    with ProcessPool(processes) as pool:
        for done in as_completed([pool.submit(trained, *job) for job in jobs]):
            yield done.result()


def summary(found: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each start, size, epochs and rate: mean UAR over few and many people."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        pictures = int(row["training set"].split()[0])
        cells[row["start"], pictures, row["epochs"], row["lr"]].append(row)
    for (start, pictures, epochs, rate), members in sorted(cells.items()):
        means = " ".join(f"{split} {np.mean([row[split] for row in members]):.3f}"
                         for split in TESTS)
        yield f"{start:10} {pictures:5} pictures {epochs:3} epochs, lr {rate:7.4f}: {means}"


def main() -> None:
    """Write one line a run, and print the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", choices=GRIDS, action="append", help="default: both")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="one small set, one epoch, two rates")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    starts = {name: GRIDS[name] for name in asked.start or GRIDS}
    sets, others = SETS, DrawnFaces(seed=DRAWN, lfw_train=50)
    if asked.quick:
        starts = {name: (rates[:2], (1,)) for name, (rates, _) in starts.items()}
        sets = {"50 of 25 people": (50, 2)}
        others = DrawnFaces(seed=DRAWN, lfw_train=50, lfw_eval=75, real_test=30, people_train=60)
    found = []
    with own_places():
        for row in rows(starts, sets, others, asked.processes):
            found.append(row)
            print(row, flush=True)
            if asked.out:
                write_rows(asked.out, sorted(found, key=lambda one: [*one.values()][:4]))
    print(*summary(found), sep="\n")


if __name__ == "__main__":
    main()
