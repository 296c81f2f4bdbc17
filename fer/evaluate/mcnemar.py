"""The exact McNemar test of two models on one test set, shown beside the planned comparisons.

It assumes independent images, which images of one person are not, and applies to the given trained
models, seed by seed. Claims rest on `fer.evaluate.significance`.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class McNemar:
    """The exact McNemar test of two models of one seed, on images that only one gets right."""

    seed: int
    left_only: int
    right_only: int
    p: float


def mcnemar(seed: int, left: np.ndarray, right: np.ndarray) -> McNemar:
    """Return the exact McNemar test.

    Args:
        left, right: bool, N; which images each model classifies correctly.
    """
    from scipy.stats import binomtest

    one, two = int((left & ~right).sum()), int((right & ~left).sum())
    p = float(binomtest(one, one + two).pvalue) if one + two else 1.0
    return McNemar(seed, one, two, p)
