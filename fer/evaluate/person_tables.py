"""Predictions of one configuration on one test set, image by image and counted by person.

Images of one person are not independent, so people are the units of all statistics.
Shapes: S seeds, N images, G people, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer.evaluate.metrics import log_probabilities
from fer.evaluate.predictions import Predictions


@dataclass(frozen=True)
class Tables:
    """Confusion counts by person of one configuration on one test set.

    Attributes:
        counts: float32, S x G x C x C, whole numbers; rows of a table are true classes.
        people: G names, sorted.
        seeds: S seeds, sorted.
        classes: C names.
        pictures: N sample ids, sorted.
        rows: int64, N; index of the person in each image.
        labels: uint8, N.
        predicted: uint8, S x N.
        nll, brier, confidence: float64, S x N; of each image, confidence being the largest
            probability.
    """

    counts: np.ndarray
    people: tuple[str, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    pictures: tuple[str, ...]
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    nll: np.ndarray
    brier: np.ndarray
    confidence: np.ndarray

    @property
    def n(self) -> int:
        """The number of images in the test set."""
        return len(self.pictures)

    @property
    def right(self) -> np.ndarray:
        """bool, S x N: which images each seed classifies correctly."""
        return np.asarray(self.predicted == self.labels)

    @property
    def collapsed(self) -> tuple[int, ...]:
        """The seeds that predict one class for every image, though there are several."""
        if len(np.unique(self.labels)) < 2:
            return ()
        return tuple(seed for seed, row in zip(self.seeds, self.predicted, strict=True)
                     if (row == row[0]).all())


def tabulate(by_seed: Mapping[int, Predictions]) -> Tables:
    """Return the tables of one configuration from the predictions of each seed.

    Raises:
        ValueError: the seeds differ in images or classes.
    """
    seeds = tuple(sorted(by_seed))
    first = by_seed[seeds[0]]
    order = np.argsort(np.array(first.sample_ids, dtype=object), kind="stable")
    pictures = tuple(first.sample_ids[place] for place in order)
    clusters = first.clusters
    people = tuple(sorted(set(clusters)))
    row = {name: index for index, name in enumerate(people)}
    width, labels = len(first.classes), first.labels[order].astype(np.uint8)
    rows = np.array([row[clusters[place]] for place in order])
    predicted = np.empty((len(seeds), len(pictures)), np.uint8)
    soft = np.empty((3, len(seeds), len(pictures)))
    for index, seed in enumerate(seeds):
        table = by_seed[seed]
        mine = order if table.sample_ids == first.sample_ids else np.argsort(
            np.array(table.sample_ids, dtype=object), kind="stable")
        if (tuple(table.sample_ids[place] for place in mine) != pictures
                or table.classes != first.classes):
            raise ValueError(f"seeds {seeds[0]} and {seed} were measured on different pictures")
        predicted[index] = table.predicted[mine]
        soft[:, index] = _soft(labels, table.logits[mine])
    counts = _count(rows, labels, predicted, len(people), width)
    return Tables(counts, people, seeds, first.classes, pictures, rows, labels, predicted, *soft)


def within(tables: Tables, keep: np.ndarray) -> Tables:
    """Return the tables restricted to the images in `keep`, bool (N,), and their people."""
    present, rows = np.unique(tables.rows[keep], return_inverse=True)
    labels, predicted = tables.labels[keep], tables.predicted[:, keep]
    return Tables(
        _count(rows, labels, predicted, len(present), len(tables.classes)),
        tuple(tables.people[row] for row in present), tables.seeds, tables.classes,
        tuple(name for name, kept in zip(tables.pictures, keep, strict=True) if kept),
        rows, labels, predicted, tables.nll[:, keep], tables.brier[:, keep],
        tables.confidence[:, keep])


def on_seeds(tables: Tables, seeds: Sequence[int]) -> Tables:
    """Return the tables restricted to `seeds`, all of which must be present."""
    if tuple(seeds) == tables.seeds:
        return tables
    at = [tables.seeds.index(seed) for seed in seeds]
    return replace(tables, seeds=tuple(seeds), counts=tables.counts[at],
                   predicted=tables.predicted[at], nll=tables.nll[at], brier=tables.brier[at],
                   confidence=tables.confidence[at])


def _soft(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the negative log-likelihood, Brier score and confidence of each image, 3 x N."""
    logs = log_probabilities(logits)
    probabilities, true = np.exp(logs), np.eye(logits.shape[1], dtype=bool)[labels]
    floor = np.log(np.finfo(np.float64).eps)  # as in scikit-learn
    return np.stack([-np.maximum(logs[true], floor), ((probabilities - true) ** 2).sum(axis=1),
                     probabilities.max(axis=1)])


def _count(rows: np.ndarray, labels: np.ndarray, predicted: np.ndarray, people: int,
           width: int) -> np.ndarray:
    """Return confusion counts by person, float32, S x G x C x C."""
    cells = (rows * width + labels) * width + predicted.astype(np.int64)
    size = people * width * width
    return np.stack([np.bincount(row, minlength=size) for row in cells]).reshape(
        len(predicted), people, width, width).astype(np.float32)
