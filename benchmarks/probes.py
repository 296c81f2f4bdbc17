"""Twelve rates of a linear probe: as one problem on kept features, and one run after another.

Both are runs with folders, checkpoints and metrics, trained by `fer.train.worker.work`, on the same
pictures and from the same weights; equal validation scores are asserted. Alone, each run shows its
pictures to the body again in every epoch, as without a cache.
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
from fer.train.worker import Task, work

RATES = [round(10 ** (-4.5 + number * 2 / 11), 7) for number in range(12)]
EPOCHS = 10
PEOPLE, QUICK_PEOPLE = 600, 60  # three pictures each
ROUNDS = 3
MADE = {"data.drawn": None, "data.sets": {"made": {"folder": "made"}}, "train_on": "made"}
BACKBONE = {"backbone": "mobilenet_w1", "backbone.input_size": 96}


def write_pictures(root: Path, people: int) -> None:
    """Write pictures whose classes a probe can tell apart."""
    for person in range(people):
        for number, name in enumerate(("negative", "neutral", "positive")):
            rng = np.random.default_rng(person * 3 + number)
            pixels = rng.integers(0, 160, (96, 96, 3), dtype=np.uint8)
            pixels[number * 30 : number * 30 + 30] += 60
            path = root / "made/train" / name / f"Made_{person:04}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def folders_of(rates: list[float]) -> list[RunFolder]:
    """Return the folders of runs, one a rate, in the present FER_HOME."""
    found = []
    for lr in rates:
        config = load_run("configs/drawn.yaml", {
            **BACKBONE, "recipe": "linear_probe", "recipe.init.source": "scratch",
            "recipe.phases": [{"name": "probe", "train": ["head"], "views": 1}],
            **MADE, "train.epochs": EPOCHS, "optim.lr": lr, "keep.tensorboard": False,
            "schedule.name": "constant", "schedule.warmup_epochs": 0})
        (run,) = identify(config, InputDigests(data_root(), cache()))
        folder = Store(home()).folder(run)
        folder.register(run, {})
        found.append(folder)
    return found


@contextmanager
def counted() -> Iterator[list[int]]:
    """Yield a list to which each forward pass of a whole network adds how many pictures it had."""
    shown: list[int] = []
    forward = Classifier.forward

    def counting(self: Classifier, images: torch.Tensor) -> torch.Tensor:
        shown.append(len(images))
        return forward(self, images)

    Classifier.forward = counting  # type: ignore[method-assign]
    try:
        yield shown
    finally:
        Classifier.forward = forward  # type: ignore[method-assign]


def sizes() -> tuple[int, int]:
    """Return how many pictures train and how many validate."""
    data = load_run("configs/drawn.yaml", MADE).data
    contents = InputDigests(data_root(), cache())
    return contents.pictures("made/train", data), contents.pictures("made/val", data)


def timed(rates: list[float], place: Path, one_by_one: bool) -> tuple[float, list[list[float]]]:
    """Return the seconds that runs of these rates take, and their validation accuracies."""
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
    """Return how much longer the runs take one by one; a round times one of those, in turn."""
    own_times, ratios, passes = [], [], []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "data", QUICK_PEOPLE if quick else PEOPLE)
        os.environ |= {"FER_DATA": str(root / "data")}
        check = Body.head_is_last
        os.environ["FER_CACHE"] = str(root / "cache")
        timed(RATES, root / "warm up", one_by_one=False)
        train, validation = sizes()
        for number in range(1 if quick else ROUNDS):  # all rates are compared in the end
            shutil.rmtree(root / "cache/features")  # packs stay: neither side builds them
            chosen = RATES[3:4] if quick else RATES[number::ROUNDS]
            Body.head_is_last = lambda *_: False  # type: ignore[method-assign,assignment]
            alone, scores = timed(chosen, root / f"alone {number}", one_by_one=True)
            Body.head_is_last = check  # type: ignore[method-assign]
            with counted() as shown:
                together, all_scores = timed(RATES, root / f"together {number}", one_by_one=False)
            for lr, score in zip(chosen, scores, strict=True):  # rounding may flip one picture
                other = all_scores[RATES.index(lr)]
                apart = np.abs(np.subtract(score, other)).max()
                assert apart < 1.5 / validation, (lr, score, other)
            passes.append(sum(shown) / (train + validation))
            own_times.append(together)
            ratios.append(alone * len(RATES) / len(chosen) / together)
    ratio = sorted(ratios)[len(ratios) // 2]
    own = sorted(own_times)[len(own_times) // 2]
    return [Comparison("12 rates × 10 epochs of a probe, MobileNet at 96 px, against one by one",
                       own * 1e3, own * ratio * 1e3, "ms", ratio, min(ratios), max(ratios), 100.0,
                       "above"),
            Comparison("forward passes a picture for 12 runs of a probe, counted (4 pictures more: "
                       "is the head last?)", max(passes), None, "", max(passes), min(passes),
                       max(passes), 1.05)]


if __name__ == "__main__":
    print(measure())
