"""Agreement between annotators: Cohen's and Fleiss' kappa, Krippendorff's alpha, intervals.

Votes are an int64 matrix, N pictures x A annotators, of category indices; negative where an
annotator gave none. Sources: Cohen 1960 (10.1177/001316446002000104); Fleiss 1971
(10.1037/h0031619); Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011. Intervals are
of the delete-one jackknife over groups of pictures (people), as those of scores are
(`fer.evaluate.jackknife`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.evaluate.intervals import quantile
from fer.evaluate.metrics import confusion

Matrix = NDArray[np.int64]
Statistic = Callable[[NDArray[np.float64]], float]  # of summed sufficient counts
LEAST_GROUPS = 3  # people; with fewer there is no interval


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its 95 % limits.

    Attributes:
        value: 1 is perfect, 0 as by chance; None where undefined (fewer than two votes on every
            picture, or one category only).
        low, high: None with fewer than `LEAST_GROUPS` groups, or where a group decides alone
            whether it is defined.
        n: pictures with at least two votes.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def pair_counts(votes: Matrix, categories: int) -> NDArray[np.float64]:
    """Return the coincidences of values of each picture, float64, N x C x C.

    Each ordered pair of votes of different annotators on a picture with m votes counts
    1 / (m - 1), so that a picture counts m.
    """
    counts = value_counts(votes, categories)
    total = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :]
    at = np.arange(categories)
    pairs[:, at, at] -= counts
    return np.asarray(np.where(total[:, None, None] > 1,
                               pairs / np.maximum(total - 1, 1)[:, None, None], 0.0))


def value_counts(votes: Matrix, categories: int) -> NDArray[np.float64]:
    """Return how many annotators gave each category, float64, N x C."""
    return np.stack([(votes == one).sum(axis=1) for one in range(categories)],
                    axis=1).astype(np.float64)


def krippendorff_alpha(votes: Matrix, categories: int, groups: Sequence[str] = ()) -> Agreement:
    """Return alpha for nominal categories: 1 - observed / expected disagreement.

    Any number of annotators and missing votes. Pictures with one vote do not count.

    Args:
        groups: N names; pictures of one group (a person) are left out together. Every picture by
            itself if empty.
    """
    return _jackknifed(pair_counts(votes, categories), _alpha, groups, _judged(votes))


def fleiss_kappa(votes: Matrix, categories: int, groups: Sequence[str] = ()) -> Agreement:
    """Return Fleiss' kappa over the pictures with the number of votes that most have (>= 2).

    The coefficient needs the same number of votes on every picture; `Agreement.n` says how many.
    """
    counts = value_counts(votes, categories)
    total = counts.sum(axis=1).astype(int)
    several = total[total > 1]
    if not len(several):
        return Agreement(None, None, None, 0)
    raters = int(np.bincount(several).argmax())
    keep = total == raters
    kept = counts[keep]
    agree = ((kept * (kept - 1)).sum(axis=1) / (raters * (raters - 1)))[:, None]
    names = [name for name, inside in zip(groups, keep, strict=True) if inside] if groups else ()
    return _jackknifed(np.concatenate([agree, kept, np.ones((len(kept), 1))], axis=1), _fleiss,
                       names, int(keep.sum()))


def cohen_kappa(one: NDArray[np.int64], two: NDArray[np.int64], categories: int,
                groups: Sequence[str] = ()) -> Agreement:
    """Return Cohen's kappa of two annotators over the pictures that both gave a vote on.

    Args:
        one, two: int64, N; negative without a vote.
    """
    both = (one >= 0) & (two >= 0)
    tables = np.zeros((int(both.sum()), categories, categories))
    tables[np.arange(len(tables)), one[both], two[both]] = 1
    names = [name for name, inside in zip(groups, both, strict=True) if inside] if groups else ()
    return _jackknifed(tables, _cohen, names, len(tables))


def confusion_between(one: NDArray[np.int64], two: NDArray[np.int64], categories: int) -> Matrix:
    """Return counts, C x C: rows are the first annotator's categories, columns the second's."""
    both = (one >= 0) & (two >= 0)
    return confusion(one[both], two[both], categories)


def majority(votes: Matrix, categories: int) -> NDArray[np.int64]:
    """Return the category with most votes of each picture, int64, N; -1 for none or a tie."""
    counts = value_counts(votes, categories)
    top = counts.max(axis=1)
    single = ((counts == top[:, None]).sum(axis=1) == 1) & (top > 0)
    return np.where(single, counts.argmax(axis=1), -1)


def _judged(votes: Matrix) -> int:
    return int(((votes >= 0).sum(axis=1) > 1).sum())


def _alpha(pairs: NDArray[np.float64]) -> float:
    values = pairs.sum(axis=1)
    n = values.sum()
    expected = n * n - (values ** 2).sum()
    observed = n - np.trace(pairs)
    return float(1 - (n - 1) * observed / expected) if expected > 0 else float("nan")


def _fleiss(sums: NDArray[np.float64]) -> float:
    agree, *values, n = sums
    if n == 0:
        return float("nan")
    share = np.array(values) / np.sum(values)
    chance = float((share ** 2).sum())
    return (agree / n - chance) / (1 - chance) if chance < 1 else float("nan")


def _cohen(table: NDArray[np.float64]) -> float:
    n = table.sum()
    if n == 0:
        return float("nan")
    chance = float((table.sum(axis=0) * table.sum(axis=1)).sum() / n ** 2)
    return float((np.trace(table) / n - chance) / (1 - chance)) if chance < 1 else float("nan")


def _jackknifed(parts: NDArray[np.float64], statistic: Statistic, groups: Sequence[str],
                n: int) -> Agreement:
    """Return a statistic of the sum of `parts` (N x …), with each group left out in turn."""
    total = parts.sum(axis=0)
    value = statistic(total)
    if not np.isfinite(value):
        return Agreement(None, None, None, n)
    active = parts.reshape(len(parts), -1).any(axis=1)
    names = np.array(groups, dtype=object)[active] if len(groups) else np.arange(active.sum())
    found, rows = np.unique(names.astype(str), return_inverse=True)
    if len(found) < LEAST_GROUPS:
        return Agreement(value, None, None, n)
    sums = np.zeros((len(found), *total.shape))
    np.add.at(sums, rows, parts[active])
    without = np.array([statistic(total - one) for one in sums])
    if not np.isfinite(without).all():
        return Agreement(value, None, None, n)
    count = len(found)
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    half = quantile(count - 1) * error
    return Agreement(value, max(value - half, -1.0), min(value + half, 1.0), n)
