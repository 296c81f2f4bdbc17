"""Runs on drawn faces outside a study: places of their own, training, predictions.

Drawings are no evidence about people; benchmarks compare rules and settings on the same drawings.
"""

import csv
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer.config.load import load_run
from fer.config.run import DrawnFaces, RunConfig
from fer.data.pixels import Source
from fer.data.synthetic.face import draw, landmarks
from fer.data.synthetic.parameters import Points
from fer.data.synthetic.sampling import CLASSES, Shot, person_name, sample_face
from fer.evaluate.metrics import validation_scores
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions
from fer.models.classifier import Classifier
from fer.study.expand import identify
from fer.study.inputs import InputDigests, draw_missing_faces
from fer.study.run_folder import RunFolder, Store
from fer.train.callbacks import NO_CALLBACKS, Callbacks
from fer.train.distributed import open_session
from fer.train.run_tasks import Task, work
from fer.train.setup import source

MIX = np.repeat(np.arange(3), (2, 9, 14))  # classes in each block of pictures, as in LFW-FER
SMALL = {"backbone": "resmasking_tiny", "compute.precision": "float32", "compute.threads": 1,
         "compute.device": "cpu", "keep.tensorboard": False}  # settings of a run
PRETRAINING = "pretraining"  # folder of the drawn people whose weights runs start from


@contextmanager
def own_places() -> Iterator[Path]:
    """Point data, runs and cache at a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="drawn-runs-") as place:
        for name in ("FER_DATA", "FER_HOME", "FER_CACHE"):
            os.environ[name] = str(Path(place) / name)
        yield Path(place)


def digests() -> InputDigests:
    """Return the digests of the data sets in `FER_DATA`."""
    return InputDigests(Path(os.environ["FER_DATA"]), Path(os.environ["FER_CACHE"]))


def draw_pretraining_people(pictures: int) -> None:
    """Draw the people whose weights runs start from, in the folder `PRETRAINING`."""
    few = DrawnFaces(lfw_train=3, lfw_eval=3, real_test=3, people_train=pictures)
    data = load_run("configs/drawn.yaml", {}).data.model_copy(update={"drawn": few})
    draw_missing_faces(data, Path(os.environ["FER_DATA"]) / PRETRAINING, [])


def draw_people(folder: Path, pictures: int, of_each: int, seed: int) -> dict[str, Points]:
    """Draw the split `train` of a set with the same number of pictures of each person.

    Returns:
        the landmarks of each face: file -> (5, 2) pixels.
    """
    generator = np.random.default_rng(seed)
    blocks = [generator.permutation(MIX) for _ in range(-(-pictures // len(MIX)))]
    for cls in CLASSES:
        (folder / "train" / cls).mkdir(parents=True)
    found = {}
    for number, label in enumerate(np.concatenate(blocks)[:pictures].tolist()):
        person, picture = divmod(number, of_each)
        face = sample_face(seed, Shot("lfw_train", person, picture, label))
        name = f"{person_name('lfw_train', person)}_{picture + 1:04d}.jpg"
        file = f"train/{CLASSES[label]}/{name}"
        draw(face).save(folder / file, quality=face.look.quality)
        found[file] = landmarks(face)
    return found


def registered(config: RunConfig) -> RunFolder:
    """Return the folder of a run that is to be trained; all that it starts from is trained."""
    *ancestors, run = identify(config, digests())
    store = Store(Path(os.environ["FER_HOME"]))
    for one in (*ancestors, run):
        folder = store.folder(one)
        folder.register(one, {})
        if one is not run:
            train(Task(folder.path))
    return folder


def train(task: Task, callbacks: Callbacks = NO_CALLBACKS) -> None:
    """Train a run to its end and evaluate it; nothing is done twice."""
    assert work([task], callbacks) == ["done"], RunFolder(task.folder).status().error


def predictions(config: RunConfig, splits: Sequence[str]) -> dict[str, Predictions]:
    """Train a run; return the predictions of the weights that it keeps on each split."""
    contents, folder = digests(), registered(config)
    train(Task(folder.path, {split: contents.split(split, config.data) for split in splits}))
    return {split: read_predictions(predictions_path(folder.path, split)) for split in splits}


def pixels(config: RunConfig, split: str) -> Source:
    """Return the pictures of a split."""
    with open_session(config.compute) as session:
        return source(config, config.data, {split: digests().split(split, config.data)}, session)


def scores(found: Mapping[str, Predictions]) -> dict[str, float]:
    """Return the UAR on each split, to four digits."""
    return {split: round(float(validation_scores(table.labels, table.logits)["uar"]), 4)
            for split, table in found.items()}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table as CSV; its columns are those of the first row."""
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def uar(model: Classifier, pictures: Source) -> float:
    """Return the UAR of a model on a source."""
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([
            model(pictures.gather(np.arange(start, min(start + 64, pictures.n)))
                  .permute(0, 3, 1, 2)).float() for start in range(0, pictures.n, 64)])
    labels = pictures.labels_of(np.arange(pictures.n))
    return float(validation_scores(labels, logits.numpy())["uar"])
