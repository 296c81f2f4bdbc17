"""Intervals and p-values from resamples, with 95 % limits valid for few people and few seeds.

With five seeds or more, the limits include the variation between seeds and between people; with
fewer, only test sampling, as `kind` states. The resamples come from `fer.evaluate.bootstrap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.evaluate.bootstrap import RESAMPLES, SEEDS_NEEDED, Draws, Tables, draw, generator

LEVEL = 0.95
TEST_SAMPLING = "test sampling"
SEEDS_AND_TEST = "seeds and test sampling"
REACH = 3.0  # maximum distance of limits on the logit scale, in half widths on the plain one


@dataclass(frozen=True)
class Interval:
    """The mean over seeds with its 95 % limits.

    Attributes:
        value, low, high: None where undefined (an absent class; fewer than two people).
        kind: the variation included: `test sampling` or `seeds and test sampling`.
        seeds, n, people: number of each; for a gap, `n` and `people` list several test sets.
        p: two-sided, of a true value of zero; meant for differences.
    """

    value: float | None
    low: float | None
    high: float | None
    kind: str
    seeds: int
    n: tuple[int, ...]
    people: tuple[int, ...]
    p: float | None = None


def interval(tables: Tables, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Return the intervals of all metrics of one configuration on one test set."""
    draws = draw(tables, resamples)
    return {name: interval_of(draws, name) for name in draws.observed}


def interval_of(draws: Draws, metric: str) -> Interval:
    """Return the mean over seeds of `metric` with its limits and p-value.

    With five seeds or more, both people and seeds are resampled, else people only. The interaction
    of people and seeds is part of the variance of both, so resampling both would count it twice
    (Owen 2007, "The pigeonhole bootstrap"). It is subtracted from the people's variance, which is
    estimated from many. Subtracting it from the seeds' variance would leave a difference of two
    uncertain variances treated as certain, and three times too many false positives.
    """
    observed = draws.observed[metric]
    count, value = len(observed), float(observed.mean())
    kind = SEEDS_AND_TEST if count >= SEEDS_NEEDED else TEST_SAMPLING
    sizes = {"seeds": count, "n": draws.n, "people": draws.people}
    if not np.isfinite(value):
        return Interval(None, None, None, kind, **sizes)  # type: ignore[arg-type]
    resampled = draws.resampled[metric].astype(np.float64)
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    people = draws.effective[metric]
    if people < 2 or len(resampled) < 2:
        return Interval(value, None, None, kind, **sizes)  # type: ignore[arg-type]
    means = resampled.mean(axis=1)
    # With about one image per person, the variance of a proportion follows from its value, which
    # the logit scale accounts for; a t distribution would widen the limits a second time.
    known = (draws.least == 0 and metric.startswith(("accuracy", "recall:"))
             and draws.n[0] <= 2 * draws.people[0])
    common = 1.0
    if kind == SEEDS_AND_TEST:
        common = alike_for_seeds(float(means.var()), interaction(observed, resampled) / count)
    levels = [Level.of(np.sqrt(common) * (means - value), people, np.inf if known else None)]
    if kind == SEEDS_AND_TEST:
        picked = generator("seeds", str(count)).integers(0, count, (len(means), count))
        levels.append(Level.of(observed[picked].mean(axis=1) - value, count))
    low, high = (all_alike(value, people) if draws.least == 0 and value in (0.0, 1.0) else
                 limits_around(value, levels, draws.least))
    return Interval(value, low, high, kind, **sizes,  # type: ignore[arg-type]
                    p=p_value(value, levels))


@dataclass(frozen=True)
class Level:
    """The effect of sampling people, or seeds, on a value.

    Attributes:
        deviations: R; of the resamples, scaled to an unbiased variance.
        variance: contribution of this level to the variance of the value.
        freedom: degrees of freedom of that variance.
    """

    deviations: np.ndarray
    variance: float
    freedom: float

    @classmethod
    def of(cls, deviations: np.ndarray, count: float, freedom: float | None = None) -> "Level":
        """Return the level of a mean of `count` values, correcting the bootstrap's variance."""
        wide = np.sqrt(count / (count - 1)) * deviations
        return cls(wide, float(wide.var()), freedom or count - 1)


def limits_around(value: float, levels: Sequence[Level], least: float,
                  plain: bool = False) -> tuple[float, float]:
    """Return the 95 % limits of a value subject to several levels of sampling.

    Deviations are widened from a normal quantile to that of `_tail`, because a bootstrap of few is
    too narrow (Hesterberg 2015, 10.1080/00031305.2015.1089789). Proportions (`least` of 0) get
    limits that are symmetric on the logit scale, where their variance depends less on their value
    (Agresti, Categorical Data Analysis, 2013, 3.1): on the plain scale, limits of samples with high
    scores are too narrow, and 95 % limits of a true 0.97 had 92 % coverage, with nearly all misses
    on one side. Limits extend no further than `REACH` or the percentiles, because the effect of
    Jeffreys' prior or of a failed seed on a value near 1 does not depend on that value.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit
    from scipy.stats import norm

    total = sum(level.variance for level in levels)
    if total <= 0:
        return value, value
    tail = (1 - LEVEL) / 2
    wide = brentq(lambda at: _tail(at, levels) - 2 * tail, 1.0, 50.0, xtol=1e-6)
    moved = limits_of(sum(level.deviations for level in levels) * wide / norm.isf(tail))
    if least == 0 and 0 < value < 1 and not plain:
        half = (moved[1] - moved[0]) / 2
        on_axis = half / (value * (1 - value))
        low, high = expit(logit(value) + np.array([-on_axis, on_axis]))
        most = np.maximum(REACH * half, np.abs(moved))
        return float(max(low, value - most[0])), float(min(high, value + most[1]))
    low, high = np.clip(value + moved, least, -least or 1.0)
    return float(min(low, value)), float(max(high, value))


def _tail(far: float, levels: Sequence[Level]) -> float:
    """Return the two-sided probability of an error of `far` standard errors or more.

    A mixture of the t distributions of the levels, weighted by their variances. Satterthwaite's
    single t distribution is valid at 5 %, but not further out in the tail, which Holm's method
    needs: with people and five seeds, its familywise error for equal models is 5 to 6 %, that of
    the mixture 3.5 to 4.5 %.
    """
    from scipy.special import stdtr

    parts = [(level.variance, stdtr(level.freedom, -far)) for level in levels]
    return float(2 * sum(v * p for v, p in parts) / sum(v for v, _ in parts))


def limits_of(deviations: np.ndarray) -> np.ndarray:
    """Return the two limits that contain a fraction `LEVEL` of the underlying distribution.

    `weibull` treats the k-th of R draws as the quantile k / (R + 1), its expectation. With numpy's
    default, 2.8 % instead of 2.5 % lie beyond either limit for 300 draws.
    """
    limits = np.percentile(deviations, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], method="weibull")
    return np.asarray(limits)


def interaction(observed: np.ndarray, resampled: np.ndarray) -> float:
    """Return the variance of the interaction of people and seeds (S, R x S)."""
    deviations = resampled - observed
    apart = deviations - deviations.mean(axis=1, keepdims=True)
    return float(apart.var(axis=0).sum() / (len(observed) - 1))


def alike_for_seeds(variance: float, own: float) -> float:
    """Return the fraction of a mean's variance over people that is common to all seeds."""
    return max(0.0, 1.0 - own / variance) if variance > 0 else 0.0


def all_alike(value: float, people: float) -> tuple[float, float]:
    """Return Wilson's limits for a value of 0 or 1, where resamples have no variance."""
    from scipy.stats import norm

    width = norm.ppf((1 + LEVEL) / 2) ** 2 / people
    return (0.0, width / (1 + width)) if value == 0 else (1 / (1 + width), 1.0)


def p_value(value: float, levels: Sequence[Level]) -> float:
    """Return the two-sided p-value of a true value of zero."""
    total = sum(level.variance for level in levels)
    if total <= 0:
        return 1.0 if value == 0 else 0.0
    return _tail(abs(value) / np.sqrt(total), levels)
