"""Significance tests between models on one test set, pooled scores, and required sample sizes.

McNemar's and Cochran's tests assume independent images, which images of one person are not, and
apply to the given trained models, seed by seed. Claims rest on the paired bootstrap
(`fer.evaluate.intervals`); these tests show whether a claim depends on it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from fer.evaluate.bootstrap import SEEDS_NEEDED, Draws, difference, generator
from fer.evaluate.intervals import (
    LEVEL,
    SEEDS_AND_TEST,
    TEST_SAMPLING,
    Interval,
    Level,
    alike_for_seeds,
    all_alike,
    interaction,
    limits_around,
)

MIDDLE = 0.25  # trimmed at either end for the interquartile mean (Agarwal et al. 2021, 2108.13264)
POWER = 0.8  # the conventional power of a test (Cohen 1988)


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
    from statsmodels.stats.contingency_tables import mcnemar as exact

    table = [[np.sum(left & right), np.sum(left & ~right)],
             [np.sum(~left & right), np.sum(~left & ~right)]]
    return McNemar(seed, int(table[0][1]), int(table[1][0]), float(exact(table, exact=True).pvalue))


def cochran_q(right: np.ndarray) -> float | None:
    """Return the p-value of Cochran's Q test of equal accuracy; None if all models are equal.

    Args:
        right: bool, N x M; whether each of M models is correct on each image.
    """
    from statsmodels.stats.contingency_tables import cochrans_q

    if (right == right[:, :1]).all():
        return None
    return float(cochrans_q(right.astype(np.int64)).pvalue)


def middle_mean(draws: Sequence[Draws], metric: str) -> Interval:
    """Return the interquartile mean over runs: all configurations of `draws` and all their seeds.

    It is less sensitive to a single failed run than the mean. People are resampled jointly, seeds
    within configurations; below five seeds, people only. As in `interval_of`, the variances from
    people and from seeds are added.
    """
    first, seeds = draws[0], min(len(one.seeds) for one in draws)
    sizes = {"seeds": seeds, "n": first.n, "people": first.people}
    kind = SEEDS_AND_TEST if seeds >= SEEDS_NEEDED else TEST_SAMPLING
    value = float(_trimmed([one.observed[metric] for one in draws]))
    if not np.isfinite(value):
        return Interval(None, None, None, kind, **sizes)  # type: ignore[arg-type]
    found = _trimmed([one.resampled[metric] for one in draws])
    finite, people = np.isfinite(found), first.effective[metric]
    if people < 2 or finite.sum() < 2:
        return Interval(value, None, None, kind, **sizes)  # type: ignore[arg-type]
    apart = found[finite] - value
    levels = [Level.of(apart, people)]
    if kind == SEEDS_AND_TEST:
        own = {id(one): one for one in draws}  # a repeated configuration is drawn once
        picked = {key: _other_seeds(one, metric, str(place), len(found))[finite]
                  for place, (key, one) in enumerate(own.items())}
        moved = _trimmed([picked[id(one)] for one in draws]) - value
        # not widened: trimming a few resampled runs already overstates the variance
        runs = Level(moved, float(moved.var()), sum(len(one.seeds) - 1 for one in own.values()))
        levels = [Level.of(np.sqrt(_alike([draws], metric)) * apart, people), runs]
    low, high = (all_alike(value, people) if value in (0.0, 1.0) else
                 limits_around(value, levels, first.least, plain=True))  # a run may have failed
    return Interval(value, low, high, kind, **sizes)  # type: ignore[arg-type]


def improvement(left: Sequence[Draws], right: Sequence[Draws], metric: str) -> Interval:
    """Return the probability that a run of `left` beats one of `right` on a test set of this size.

    Ties count as one half; 0.5 means no better. On a larger test set, the probability would be
    further from 0.5.

    Args:
        left, right: the same configurations in the same order, except for the compared key; the
            result is the mean over them.

    There are no limits below five seeds: if few runs all win, they do so in every resample of
    people, and limits of [1, 1] would claim that no other seed ever loses.
    """
    first, seeds = left[0], min(len(one.seeds) for one in (*left, *right))
    sizes = {"seeds": seeds, "n": first.n, "people": first.people}
    kind = SEEDS_AND_TEST if seeds >= SEEDS_NEEDED else TEST_SAMPLING
    value = float(np.mean([_beats(one.observed[metric], two.observed[metric])
                           for one, two in zip(left, right, strict=True)]))
    if not np.isfinite(value):
        return Interval(None, None, None, kind, **sizes)  # type: ignore[arg-type]
    people = first.effective[metric]
    if kind != SEEDS_AND_TEST or people < 2:
        return Interval(value, None, None, kind, **sizes)  # type: ignore[arg-type]
    found = np.mean([_beats(one.resampled[metric], two.resampled[metric])
                     for one, two in zip(left, right, strict=True)], axis=0)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return Interval(value, None, None, kind, **sizes)  # type: ignore[arg-type]
    configs = len({id(one) for one in left})  # each is repeated for every other value
    of_people = _alike([left, right], metric) * Level.of(found - value, people).variance
    low, high = _limits_of_share(value, seeds, configs, of_people)
    return Interval(value, low, high, kind, **sizes)  # type: ignore[arg-type]


def _limits_of_share(share: float, runs: int, configs: int, of_people: float
                     ) -> tuple[float, float]:
    """Return 95 % limits of the probability that one of `runs` runs beats one of as many others.

    If few runs all win, resampling them gives no variance. The limits solve for the probabilities
    that are as far away as their own standard error allows (Newcombe 2006, method 5,
    10.1002/sim.2324), including the variance over `configs` and over people.

    Args:
        of_people: variance of `share` in resamples of people, as far as it is common to all seeds.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    def away(true: float) -> float:
        more = (runs - 1) * ((1 - true) / (2 - true) + true / (1 + true))
        of_runs = true * (1 - true) * (1 + more) / (runs**2 * configs)
        return float(abs(share - true) - norm.ppf((1 + LEVEL) / 2) * np.sqrt(of_runs + of_people))

    tiny = 1e-9  # at the share itself the distance is zero
    below, above = share - tiny, share + tiny
    return (brentq(away, 0.0, below) if below > 0 and away(0.0) > 0 > away(below) else 0.0,
            brentq(away, above, 1.0) if above < 1 and away(1.0) > 0 > away(above) else 1.0)


def _other_seeds(one: Draws, metric: str, word: str, resamples: int) -> np.ndarray:
    """Return the observed scores of resampled seeds, R x S."""
    observed = one.observed[metric]
    size = (resamples, len(observed))
    return observed[generator("runs", word, str(size[1])).integers(0, size[1], size)]


def _alike(groups: Sequence[Sequence[Draws]], metric: str) -> float:
    """Return `alike_for_seeds` of the mean over one group, or of the difference of two."""
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


def _trimmed(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the interquartile mean (...) of all runs, each of `scores` (... x S)."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(np.concatenate(scores, axis=-1), MIDDLE, axis=-1))


def _beats(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the share of pairs in which one of `left` (... x S) is above one of `right`."""
    apart = left[..., :, None] - right[..., None, :]
    won = np.where(np.isnan(apart), np.nan, (apart > 0) + 0.5 * (apart == 0))
    return np.asarray(won.mean(axis=(-1, -2)))


@dataclass(frozen=True)
class Power:
    """The sample size needed to distinguish two models, given the observed difference.

    Attributes:
        difference: of the means over seeds, as a fraction.
        n: number of images available.
        needed: images for 80 % power at 5 %; None if no number is enough because seeds vary too
            much, or if there is no difference.
        seeds: whether the variance over seeds is included (five seeds or more).
    """

    difference: float
    n: int
    needed: int | None
    seeds: bool


def pictures_needed(left: Draws, right: Draws, metric: str = "uar") -> Power | None:
    """Return how many images like those of the test set would be needed; None if undefined.

    Test-sampling variance shrinks with more images, variance over seeds only with more seeds.
    Normal approximation: |d| >= (z_0.975 + z_0.8) sqrt(v n / needed + seeds' variance).
    """
    from scipy.stats import norm

    apart = difference(left, right)
    observed = apart.observed[metric]
    resampled = apart.resampled[metric].astype(np.float64)
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    value = float(observed.mean())
    if not np.isfinite(value) or len(resampled) < 2 or apart.effective[metric] < 2:
        return None
    enough = len(observed) >= SEEDS_NEEDED
    seeds = 0.0
    if enough:  # more images do not reduce this part
        own = float(observed.var(ddof=1)) - interaction(observed, resampled)
        seeds = max(0.0, own) / len(observed)
    reach = float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER))
    allowed = (value / reach) ** 2 - seeds
    sampling = float(resampled.mean(axis=1).var())
    needed = ceil(apart.n[0] * sampling / allowed) if allowed > 0 else None
    return Power(value, apart.n[0], needed, enough)
