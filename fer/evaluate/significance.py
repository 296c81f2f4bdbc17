"""Tests between models on one test set that stand beside the bootstrap: they need no resamples.

McNemar's and Cochran's tests take pictures for independent, which those of one person are not, and
hold for the trained models at hand, seed by seed. What is claimed rests on the paired bootstrap
(`fer.evaluate.interval`); these show whether a claim hangs on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fer.evaluate.bootstrap import Draws, generator
from fer.evaluate.interval import SEEDS_AND_TEST, SEEDS_NEEDED, TEST_SAMPLING, Interval

MIDDLE = 0.25  # cut from either end for the interquartile mean (Agarwal et al. 2021, 2108.13264)
LIMITS = (2.5, 97.5)


@dataclass(frozen=True)
class McNemar:
    """The exact test of two models of one seed: pictures that only one of them gets right."""

    seed: int
    left_only: int
    right_only: int
    p: float


def mcnemar(seed: int, left: np.ndarray, right: np.ndarray) -> McNemar:
    """Return the exact test; `left` and `right` say which pictures are right: bool (N,)."""
    from statsmodels.stats.contingency_tables import mcnemar as exact

    table = [[np.sum(left & right), np.sum(left & ~right)],
             [np.sum(~left & right), np.sum(~left & ~right)]]
    return McNemar(seed, int(table[0][1]), int(table[1][0]), float(exact(table, exact=True).pvalue))


def cochran_q(right: np.ndarray) -> float | None:
    """Return the p-value of "all models are equally often right"; None where all are alike.

    Args:
        right: bool, N x M; which of M models is right on which picture.
    """
    from statsmodels.stats.contingency_tables import cochrans_q

    if (right == right[:, :1]).all():
        return None
    return float(cochrans_q(right.astype(np.int64)).pvalue)


def middle_mean(draws: Sequence[Draws], metric: str) -> Interval:
    """Return the interquartile mean over runs: all configurations of `draws` and all their seeds.

    Less moved by a single failed run than the mean. Seeds are resampled within configurations, as
    people are everywhere; below five seeds people only.
    """
    return _over_runs([draws], metric, lambda groups: _trimmed(np.concatenate(groups[0], axis=-1)))


def improvement(left: Sequence[Draws], right: Sequence[Draws], metric: str) -> Interval:
    """Return the probability that a run of `left` beats one of `right`, ties counted by half.

    Args:
        left, right: the same configurations in the same order but for what is compared; the mean
            over them is taken. One half is "no better".
    """
    return _over_runs([left, right], metric, lambda groups: np.mean(
        [_beats(one, two) for one, two in zip(*groups, strict=True)], axis=0))


Scores = list[list[np.ndarray]]  # nested as the groups of draws are; seeds are the last axis


def _over_runs(groups: Sequence[Sequence[Draws]], metric: str,
               statistic: Callable[[Scores], np.ndarray]) -> Interval:
    """Return a statistic of the scores of runs with its percentile limits.

    Args:
        statistic: of scores (... x S) to (...).
    """
    every = [one for group in groups for one in group]
    first, seeds = every[0], min(len(one.seeds) for one in every)
    value = float(statistic([[one.observed[metric] for one in group] for group in groups]))
    kind = SEEDS_AND_TEST if seeds >= SEEDS_NEEDED else TEST_SAMPLING
    if not np.isfinite(value):
        return Interval(None, None, None, kind, seeds, first.n, first.people)
    numbers = {id(one): place for place, one in enumerate({id(one): one for one in every}.values())}
    drawn = {id(one): _resampled(one, metric, str(numbers[id(one)]), kind == SEEDS_AND_TEST)
             for one in every}  # one that stands in several places is one draw
    found = statistic([[drawn[id(one)] for one in group] for group in groups])
    found = found[np.isfinite(found)]
    if first.effective[metric] < 2 or len(found) < 2:
        return Interval(value, None, None, kind, seeds, first.n, first.people)
    low, high = np.percentile(found, LIMITS)
    return Interval(value, float(min(low, value)), float(max(high, value)), kind, seeds, first.n,
                    first.people)


def _resampled(one: Draws, metric: str, word: str, seeds: bool) -> np.ndarray:
    """Return scores in every resample, R x S; the seeds drawn again too where there are enough."""
    found = one.resampled[metric]
    if not seeds:
        return found
    count = found.shape[1]
    picked = generator("runs", word, str(count)).integers(0, count, found.shape)
    return np.take_along_axis(found, picked, axis=1)


def _trimmed(scores: np.ndarray) -> np.ndarray:
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(scores, MIDDLE, axis=-1))


def _beats(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the share of pairs in which `left` (... x S) is above `right` (... x T)."""
    apart = left[..., :, None] - right[..., None, :]
    return np.asarray(((apart > 0) + 0.5 * (apart == 0)).mean(axis=(-1, -2)))
