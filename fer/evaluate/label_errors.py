"""Probable label errors from out-of-sample predictions: confident learning.

Northcutt, Jiang and Chuang 2021 (10.1613/jair.1.12125), the method behind cleanlab; a library is
not used for these forty lines. A picture is suspect where a class other than its label reaches the
mean confidence that pictures of that class have. Pictures are ranked by the normalised margin,
p(label) - max p(other), lowest first, the suspect ones before all others.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Suspects:
    """Pictures by how probably their label is wrong.

    Attributes:
        order: int64, N; indices of pictures, most suspect first.
        suspect: bool, N; by confident learning.
        suggested: int64, N; the most probable class.
        margin: float64, N; p(label) - max p(other), -1 to 1.
        thresholds: float64, C; mean confidence of the class; NaN without pictures.
    """

    order: NDArray[np.int64]
    suspect: NDArray[np.bool_]
    suggested: NDArray[np.int64]
    margin: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def find_label_errors(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> Suspects:
    """Return the pictures by how probably their label is wrong.

    Args:
        labels: int64, N; the given labels.
        probabilities: float64, N x C; of models that were not trained on these pictures.
    """
    size, classes = probabilities.shape
    rows = np.arange(size)
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, probabilities[rows, labels], classes)
    with np.errstate(invalid="ignore"):
        thresholds = sums / counts
    confident = probabilities >= np.where(counts > 0, thresholds, np.inf) - 1e-12
    best = np.where(confident, probabilities, -1.0).argmax(axis=1)
    suspect = confident.any(axis=1) & (best != labels)
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    margin = probabilities[rows, labels] - others.max(axis=1)
    order = np.lexsort((rows, margin, ~suspect))
    return Suspects(order, suspect, probabilities.argmax(axis=1), margin, thresholds)
