"""Twelve learning rates of a linear probe: one problem on cached features against one by one.

Both sides are runs with folders, checkpoints and metrics, trained by `fer.train.run_tasks.work` on
the same images and from the same weights; equal validation scores are asserted. One by one, each
run computes the features again in every epoch, as without a cache.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Comparison  # first: it pins the threads

from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.models.classifier import Classifier
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store
from fer.train.features import Body
from fer.train.run_tasks import Task, work

RATES = [round(10 ** (-4.5 + number * 2 / 11), 7) for number in range(12)]
EPOCHS = 10
PEOPLE, QUICK_PEOPLE = 600, 20  # three images each
ROUNDS = 3
MADE = {"data.drawn": None, "data.sets": {"made": {"folder": "made"}}, "train_on": "made"}
BACKBONE = {"backbone": "mobilenet_w1", "backbone.input_size": 96}


def write_pictures(root: Path, people: int) -> None:
    """Write images whose classes a probe can distinguish."""
    for person in range(people):
        for number, name in enumerate(("negative", "neutral", "positive")):
            rng = np.random.default_rng(person * 3 + number)
            pixels = rng.integers(0, 160, (96, 96, 3), dtype=np.uint8)
            pixels[number * 30 : number * 30 + 30] += 60
            path = root / "made/train" / name / f"Made_{person:04}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def folders_of(rates: list[float]) -> list[RunFolder]:
    """Return the folders of runs, one per rate, in the current FER_HOME."""
    folders = []
    for lr in rates:
        config = load_run("configs/drawn.yaml", {
            **BACKBONE, "recipe": "linear_probe", "recipe.init.source": "scratch",
            "recipe.phases": [{"name": "probe", "train": ["head"], "views": 1}],
            **MADE, "train.epochs": EPOCHS, "optim.lr": lr, "keep.tensorboard": False,
            "schedule.name": "constant", "schedule.warmup_epochs": 0})
        (run,) = identify(config, InputDigests(data_root(), cache()))
        folder = Store(home()).folder(run)
        folder.register(run, {})
        folders.append(folder)
    return folders


@contextmanager
def counted() -> Iterator[list[int]]:
    """Yield a list to which each forward pass of a whole network appends its batch size."""
    batch_sizes: list[int] = []
    forward = Classifier.forward

    def counting(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        batch_sizes.append(len(images))
        return forward(self, images)

    Classifier.forward = counting  # type: ignore[method-assign]
    try:
        yield batch_sizes
    finally:
        Classifier.forward = forward  # type: ignore[method-assign]


def sizes() -> tuple[int, int]:
    """Return the numbers of training and validation images."""
    data = load_run("configs/drawn.yaml", MADE).data
    contents = InputDigests(data_root(), cache())
    return contents.pictures("made/train", data), contents.pictures("made/val", data)


def timed(rates: list[float], place: Path, one_by_one: bool) -> tuple[float, list[list[float]]]:
    """Return the time in seconds of runs with these rates, and their validation accuracies."""
    os.environ["FER_HOME"] = str(place)
    folders = folders_of(rates)
    tasks = [Task(folder.path) for folder in folders]
    begun = time.perf_counter()
    groups = [[task] for task in tasks] if one_by_one else [tasks]
    for group in groups:
        assert set(work(group)) == {"done"}, [folder.status().error for folder in folders]
    seconds = time.perf_counter() - begun
    return seconds, [[json.loads(line)["val_accuracy"] for line in
                      (folder.path / "metrics.jsonl").read_text().splitlines()]
                     for folder in folders]


def measure(quick: bool = False) -> list[Comparison]:
    """Return how much longer the runs take one by one; a round times a part of them in turn."""
    own_times, ratios, passes = [], [], []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "data", QUICK_PEOPLE if quick else PEOPLE)
        os.environ |= {"FER_DATA": str(root / "data")}
        check = Body.head_is_last
        os.environ["FER_CACHE"] = str(root / "cache")
        timed(RATES, root / "warm up", one_by_one=False)
        train, validation = sizes()
        for number in range(1 if quick else ROUNDS):  # each round compares other rates
            shutil.rmtree(root / "cache/features")  # packs stay, so neither side builds them
            chosen = RATES[3:4] if quick else RATES[number::ROUNDS]
            Body.head_is_last = lambda *_: False  # type: ignore[method-assign,assignment]
            alone, scores = timed(chosen, root / f"alone {number}", one_by_one=True)
            Body.head_is_last = check  # type: ignore[method-assign]
            with counted() as batch_sizes:
                together, all_scores = timed(RATES, root / f"together {number}", one_by_one=False)
            for lr, score in zip(chosen, scores, strict=True):  # rounding may flip one image
                other = all_scores[RATES.index(lr)]
                apart = np.abs(np.subtract(score, other)).max()
                assert apart < 1.5 / validation, (lr, score, other)
            passes.append(sum(batch_sizes) / (train + validation))
            own_times.append(together)
            ratios.append(alone * len(RATES) / len(chosen) / together)
    ratio = sorted(ratios)[len(ratios) // 2]
    own = sorted(own_times)[len(own_times) // 2]
    return [Comparison("12 rates × 10 epochs of a probe, MobileNet at 96 px, against one by one",
                       own * 1e3, own * ratio * 1e3, "ms", ratio, min(ratios), max(ratios), 100.0,
                       "above"),
            Comparison("forward passes per image for 12 runs of a probe, counted (4 more images "
                       "check the head is last)", max(passes), None, "", max(passes), min(passes),
                       max(passes), 1.05)]


if __name__ == "__main__":
    print(measure())
