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
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timing  # noqa: F401  first: it pins the threads
import torch

from fer.config.load import load_run
from fer.config.run import DrawnFaces, RunConfig
from fer.data.pixels import Source
from fer.evaluate.metrics import validation_scores
from fer.models.classifier import Classifier
from fer.study.expand import identify
from fer.study.inputs import InputDigests, draw_missing_faces
from fer.study.run_folder import Store
from fer.train.callbacks import Callbacks
from fer.train.checkpoint import TRAINING, Checkpoints, load_weights
from fer.train.context import new_model
from fer.train.distributed import open_session
from fer.train.ema import set_state
from fer.train.run_tasks import Task, work
from fer.train.setup import source, training_source

PICTURES = {60: 150}  # people in training and validation -> drawn pictures
SETTINGS = {"backbone": "cbam_tiny", "backbone.input_size": 32, "train_on": "mlfw",
            "train.batch_size": 16, "keep.tensorboard": False, "train.select": "average"}
STARTS = {"pretrained": {"recipe": "imagenet_full", "train.epochs": 15},
          "scratch": {"recipe": "scratch", "train.epochs": 60}}
DRAWN = 1234  # seed of the first drawn sets
PRETRAINING = "pretraining"  # folder of the drawn people whose weights runs start from
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


@contextmanager
def own_places() -> Iterator[Path]:
    """Point data, runs and cache at a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="regret-") as place:
        for name in ("FER_DATA", "FER_HOME", "FER_CACHE"):
            os.environ[name] = str(Path(place) / name)
        yield Path(place)


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
    root = Path(os.environ["FER_DATA"])
    assert config.data.drawn is not None
    draw_missing_faces(config.data, root / Path(config.data.sets["lfw"].folder).parts[0], [])
    few = DrawnFaces(lfw_train=3, lfw_eval=3, real_test=3, people_train=600)
    draw_missing_faces(config.data.model_copy(update={"drawn": few}), root / PRETRAINING, [])
    contents = InputDigests(root, Path(os.environ["FER_CACHE"]))
    *ancestors, run = identify(config, contents)
    store = Store(Path(os.environ["FER_HOME"]))
    for one in (*ancestors, run):
        folder = store.folder(one)
        folder.register(one, {})
        if one is not run:
            assert work([Task(folder.path)]) == ["done"]
    with open_session(config.compute) as session:
        val = training_source(folder.config, "val", session)
        test = source(config, config.data, {split: contents.split(split, config.data)}, session)
        model, _ = new_model(config, session)
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

    outcome = work([Task(folder.path)], Callbacks(after_epoch=after_epoch))
    assert outcome == ["done"], folder.status().error
    return curve


def uar(model: Classifier, pictures: Source) -> float:
    """Return the UAR of a model on a source."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, pictures.n, 64):
            some = np.arange(start, min(start + 64, pictures.n))
            parts.append(model(pictures.gather(some).permute(0, 3, 1, 2)).float())
    labels = pictures.labels_of(np.arange(pictures.n))
    return float(validation_scores(labels, torch.cat(parts).numpy())["uar"])


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
