"""Tests between models on one test set that stand beside the bootstrap: they need no resamples.

McNemar's and Cochran's tests take pictures for independent, which those of one person are not, and
hold for the trained models at hand, seed by seed. What is claimed rests on the paired bootstrap
(`fer.evaluate.interval`); these show whether a claim hangs on it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer.evaluate.bootstrap import Draws, generator
from fer.evaluate.interval import (
    LEVEL,
    SEEDS_AND_TEST,
    SEEDS_NEEDED,
    TEST_SAMPLING,
    Interval,
    alike_for_seeds,
    interaction,
    limits_of,
    stretch,
)

MIDDLE = 0.25  # cut from either end for the interquartile mean (Agarwal et al. 2021, 2108.13264)


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

    Without limits below five seeds: few runs that all win do so in every resample of people, and
    limits of [1, 1] would say that no other seed ever loses.
    """
    found = _over_runs([left, right], metric, lambda groups: np.mean(
        [_beats(one, two) for one, two in zip(*groups, strict=True)], axis=0))
    if found.kind != SEEDS_AND_TEST or found.value is None or found.low is None:
        return replace(found, low=None, high=None)
    assert found.high is not None
    configs = len({id(one) for one in left})  # each stands once for every other value
    low, high = _limits_of_share(found.value, found.seeds, configs)
    return replace(found, low=min(found.low, low), high=max(found.high, high))


def _limits_of_share(share: float, runs: int, configs: int) -> tuple[float, float]:
    """Return 95 % limits of the probability that one of some runs beats one of as many others.

    Where few runs all win, no resample of them knows of one that does not: limits by solving for
    the probabilities that are just as far away as their own spread allows (Newcombe 2006, method 5,
    10.1002/sim.2324), with the spread of the mean over `configs`.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    def away(true: float) -> float:
        more = (runs - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        spread = np.sqrt(true * (1 - true) * (1 + more) / (runs**2 * configs))
        return float(abs(share - true) - norm.ppf((1 + LEVEL) / 2) * spread)

    tiny = 1e-9
    return (brentq(away, tiny, share - tiny) if share > 2 * tiny else 0.0,
            brentq(away, share + tiny, 1 - tiny) if share < 1 - 2 * tiny else 1.0)


Scores = list[list[np.ndarray]]  # nested as the groups of draws are; seeds are the last axis


def _over_runs(groups: Sequence[Sequence[Draws]], metric: str,
               statistic: Callable[[Scores], np.ndarray]) -> Interval:
    """Return a statistic of the scores of runs with its limits.

    As in `interval_of`, what comes of other people and what comes of other seeds is added up, each
    stretched for their number.

    Args:
        statistic: of scores (... x S) to (...), between 0 and 1.
    """
    every = [one for group in groups for one in group]
    first, seeds = every[0], min(len(one.seeds) for one in every)
    value = float(statistic([[one.observed[metric] for one in group] for group in groups]))
    kind = SEEDS_AND_TEST if seeds >= SEEDS_NEEDED else TEST_SAMPLING
    if not np.isfinite(value):
        return Interval(None, None, None, kind, seeds, first.n, first.people)
    found = statistic([[one.resampled[metric] for one in group] for group in groups])
    there = np.isfinite(found)
    if first.effective[metric] < 2 or there.sum() < 2:
        return Interval(value, None, None, kind, seeds, first.n, first.people)
    deviations = stretch(first.effective[metric]) * (found - value)
    if kind == SEEDS_AND_TEST:
        own = list({id(one): one for one in every}.values())  # one in several places is one draw
        picked = {id(one): _other_seeds(one, metric, str(place), len(found))
                  for place, one in enumerate(own)}
        moved = statistic([[picked[id(one)] for one in group] for group in groups]) - value
        freedom = sum(len(one.seeds) - 1 for one in own)
        deviations *= np.sqrt(_alike(groups, metric))
        deviations += stretch(seeds, freedom) * moved
    low, high = np.clip(value + limits_of(deviations[there]), 0.0, 1.0)
    return Interval(value, float(min(low, value)), float(max(high, value)), kind, seeds, first.n,
                    first.people)


def _other_seeds(one: Draws, metric: str, word: str, resamples: int) -> np.ndarray:
    """Return the scores as measured of seeds that are drawn again, R x S."""
    observed = one.observed[metric]
    size = (resamples, len(observed))
    return observed[generator("runs", word, str(size[1])).integers(0, size[1], size)]


def _alike(groups: Sequence[Sequence[Draws]], metric: str) -> float:
    """Return `alike_for_seeds` of the mean over one group, or of what two groups are apart."""
    whole = np.logical_and.reduce([np.isfinite(one.resampled[metric]).all(axis=1)
                                   for group in groups for one in group])
    own, means = 0.0, []
    for group in groups:
        scores = {id(one): one.resampled[metric][whole].astype(np.float64) for one in group}
        means.append(np.mean([scores[id(one)].mean(axis=1) for one in group], axis=0))
        counts = Counter(id(one) for one in group)
        own += sum(interaction(one.observed[metric], scores[id(one)]) / len(one.seeds)
                   * (counts[id(one)] / len(group)) ** 2
                   for one in {id(one): one for one in group}.values())
    return alike_for_seeds(float(np.var(means[0] - means[1] if means[1:] else means[0])), own)


def _trimmed(scores: np.ndarray) -> np.ndarray:
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(scores, MIDDLE, axis=-1))


def _beats(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the share of pairs in which `left` (... x S) is above `right` (... x T)."""
    apart = left[..., :, None] - right[..., None, :]
    won = np.where(np.isnan(apart), np.nan, (apart > 0) + 0.5 * (apart == 0))
    return np.asarray(won.mean(axis=(-1, -2)))
