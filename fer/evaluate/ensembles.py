"""Ensembles of trained models, from their predictions on disk, without inference."""

from collections.abc import Mapping, Sequence

import numpy as np

from fer.evaluate.metrics import confusion, log_probabilities, scores
from fer.evaluate.predictions import Predictions

MOST_ROUNDS = 50  # of greedy selection; Caruana et al. 2004 (10.1145/1015330.1015432) used as many


def hold_probabilities(table: Predictions) -> bool:
    """Return whether the logits are in fact probabilities, which must not be mixed with logits.

    Log-probabilities are valid logits; numbers in 0…1 that sum to one in every row are not.
    """
    values = np.asarray(table.logits, np.float64)
    return bool(len(values) and values.min() >= 0 and np.abs(values.sum(1) - 1).max() < 1e-4)


def mean_of(tables: Sequence[Predictions]) -> Predictions:
    """Return the mean of the models' probabilities, as log-probabilities, in the first's order.

    A model given twice counts twice.

    Raises:
        ValueError: the models differ in images or classes.
    """
    first = tables[0]
    total = np.zeros((len(first), len(first.classes)))
    for table in tables:
        total += np.exp(log_probabilities(aligned(table, first)))
    logits = np.log(np.maximum(total / len(tables), np.finfo(np.float32).tiny))
    return Predictions(first.sample_ids, first.identities, first.labels,
                       logits.astype(np.float32), first.classes)


def aligned(table: Predictions, like: Predictions) -> np.ndarray:
    """Return the logits of `table` in the image order of `like`.

    Raises:
        ValueError: images or classes differ.
    """
    if table.classes != like.classes:
        raise ValueError(f"classes differ: {table.classes} and {like.classes}")
    if table.sample_ids == like.sample_ids:
        return table.logits
    at = {name: row for row, name in enumerate(table.sample_ids)}
    if at.keys() != set(like.sample_ids):
        raise ValueError("predictions of different pictures")
    return np.asarray(table.logits[[at[name] for name in like.sample_ids]])


def greedy(validation: Mapping[str, Predictions]) -> list[str]:
    """Return the models to average, selected greedily on validation UAR.

    Starts with the best one and adds, with repetition, the model that improves UAR most, as long as
    UAR grows (Caruana et al. 2004). Ties go to the first name.

    Args:
        validation: name -> predictions on the same validation images.

    Returns:
        Names, repeated according to their weight.
    """
    names = sorted(validation)
    first = validation[names[0]]
    probabilities = np.stack([np.exp(log_probabilities(aligned(validation[name], first)))
                              for name in names])
    chosen: list[str] = []
    total, reached = np.zeros_like(probabilities[0]), -1.0
    for _ in range(MOST_ROUNDS):
        found = _uars(first.labels, (total + probabilities).argmax(-1), len(first.classes))
        best = int(found.argmax())
        if found[best] <= reached:
            break
        chosen.append(names[best])
        total, reached = total + probabilities[best], found[best]
    return chosen


def _uars(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return the UAR of each row of `predicted` (M x N)."""
    return np.asarray(scores(np.stack([confusion(labels, row, classes)
                                       for row in predicted]))["uar"])
