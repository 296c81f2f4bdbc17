"""Intervals and p-values from resamples: 95 % limits that hold for few people and few seeds.

With five seeds or more the limits hold the variation between seeds and between people, below
that only test sampling, and they say so. The resamples are `fer.evaluate.bootstrap`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.evaluate.bootstrap import RESAMPLES, SEEDS_NEEDED, Draws, Tables, draw, generator

LEVEL = 0.95
TEST_SAMPLING = "test sampling"
SEEDS_AND_TEST = "seeds and test sampling"
REACH = 3.0  # of limits on the logit axis, in half widths on the plain one


@dataclass(frozen=True)
class Interval:
    """A number and how sure it is: the mean over seeds with its 95 % limits.

    Attributes:
        value, low, high: None where undefined (an absent class; fewer than two people).
        kind: what varies inside the limits: `test sampling` or `seeds and test sampling`.
        seeds, n, people: how many of each; several test sets in `n` and `people` for a gap.
        p: two-sided, of "the true value is zero"; meant for differences.
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
    """Return the interval of every metric of one configuration on one test set."""
    draws = draw(tables, resamples)
    return {name: interval_of(draws, name) for name in draws.observed}


def interval_of(draws: Draws, metric: str) -> Interval:
    """Return the mean over seeds of `metric` with its limits and p-value.

    With five seeds or more both people and seeds are resampled, else people only. What
    other people do to each seed in its own way is in the spread of the seeds too, and resampling
    both ways would count it twice (Owen 2007, "The pigeonhole bootstrap"): it is taken off the
    people, of whom there are many. Off the seeds it would leave a difference of two uncertain
    variances that passes for a certain one, and equal models are told apart three times too often.
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
    # where pictures are nearly all of other people, how far a share of them spreads follows from
    # its size, as the logit axis has it: t would widen it a second time
    known = (draws.least == 0 and metric.startswith(("accuracy", "recall:"))
             and draws.n[0] <= 2 * draws.people[0])
    alike = 1.0
    if kind == SEEDS_AND_TEST:
        alike = alike_for_seeds(float(means.var()), interaction(observed, resampled) / count)
    levels = [Level.of(np.sqrt(alike) * (means - value), people, np.inf if known else None)]
    if kind == SEEDS_AND_TEST:
        picked = generator("seeds", str(count)).integers(0, count, (len(means), count))
        levels.append(Level.of(observed[picked].mean(axis=1) - value, count))
    low, high = (all_alike(value, people) if draws.least == 0 and value in (0.0, 1.0) else
                 limits_around(value, levels, draws.least))
    return Interval(value, low, high, kind, **sizes,  # type: ignore[arg-type]
                    p=p_value(value, levels))


@dataclass(frozen=True)
class Level:
    """What sampling people, or seeds, does to a value.

    Attributes:
        deviations: R; of the resamples, as wide as an unbiased variance has it.
        variance: of the value, as far as it comes of this level.
        freedom: degrees of freedom of that variance.
    """

    deviations: np.ndarray
    variance: float
    freedom: float

    @classmethod
    def of(cls, deviations: np.ndarray, count: float, freedom: float | None = None) -> "Level":
        """Return the level of a mean of `count` ones: a bootstrap's variance divides by n."""
        wide = np.sqrt(count / (count - 1)) * deviations
        return cls(wide, float(wide.var()), freedom or count - 1)


def limits_around(value: float, levels: Sequence[Level], least: float,
                  plain: bool = False) -> tuple[float, float]:
    """Return the 95 % limits of a value that several levels of sampling move.

    Deviations are widened from a normal's quantile to that of `_beyond`, because a bootstrap of few
    is too narrow (Hesterberg 2015, 10.1080/00031305.2015.1089789). Shares (`least` of 0) get limits
    that are as far from them on the logit axis, where their spread hangs less on how large they
    are (Agresti, Categorical Data Analysis, 2013, 3.1): a sample that has turned out too well is
    narrow, too, and 95 % limits of a true 0.97 held in 92 %, nearly all misses on one side. They
    are no further than `REACH` allows, or percentiles are: what Jeffreys' prior or a failed seed
    does to a value near 1 does not hang on its size.
    """
    from scipy.optimize import brentq
    from scipy.special import expit, logit
    from scipy.stats import norm

    total = sum(level.variance for level in levels)
    if total <= 0:
        return value, value
    tail = (1 - LEVEL) / 2
    wide = brentq(lambda at: _beyond(at, levels) - 2 * tail, 1.0, 50.0, xtol=1e-6)
    moved = limits_of(sum(level.deviations for level in levels) * wide / norm.isf(tail))
    if least == 0 and 0 < value < 1 and not plain:
        half = (moved[1] - moved[0]) / 2
        on_axis = half / (value * (1 - value))
        low, high = expit(logit(value) + np.array([-on_axis, on_axis]))
        most = np.maximum(REACH * half, np.abs(moved))
        return float(max(low, value - most[0])), float(min(high, value + most[1]))
    low, high = np.clip(value + moved, least, -least or 1.0)
    return float(min(low, value)), float(max(high, value))


def _beyond(far: float, levels: Sequence[Level]) -> float:
    """Return how likely a value is off by `far` standard errors or more, to either side.

    A mixture of the t of each level, in the proportion of their variances. Satterthwaite's one t
    with the freedom of the sum holds at 5 %, but not far in the tail, where Holm looks: with
    people and five seeds it claims 5 to 6 % of families of equal models apart, this one 3.5 to 4.5.
    """
    from scipy.special import stdtr

    parts = [(level.variance, stdtr(level.freedom, -far)) for level in levels]
    return float(2 * sum(v * p for v, p in parts) / sum(v for v, _ in parts))


def limits_of(deviations: np.ndarray) -> np.ndarray:
    """Return the two limits between which the share `LEVEL` of all draws lies, not of these alone.

    `weibull` takes the k-th of R draws for the quantile k / (R + 1), which it is on average; by
    numpy's default 2.8 % lie beyond either limit where 300 draws are asked for 2.5 %.
    """
    limits = np.percentile(deviations, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], method="weibull")
    return np.asarray(limits)


def interaction(observed: np.ndarray, resampled: np.ndarray) -> float:
    """Return the variance of what other people do to each seed (S, R x S) in its own way."""
    deviations = resampled - observed
    apart = deviations - deviations.mean(axis=1, keepdims=True)
    return float(apart.var(axis=0).sum() / (len(observed) - 1))


def alike_for_seeds(variance: float, own: float) -> float:
    """Return the share of a mean's variance over people that is not of each seed on its own."""
    return max(0.0, 1.0 - own / variance) if variance > 0 else 0.0


def all_alike(value: float, people: float) -> tuple[float, float]:
    """Return Wilson's limits of 0 or 1, where every resample is alike and says nothing."""
    from scipy.stats import norm

    width = norm.ppf((1 + LEVEL) / 2) ** 2 / people
    return (0.0, width / (1 + width)) if value == 0 else (1 / (1 + width), 1.0)


def p_value(value: float, levels: Sequence[Level]) -> float:
    """Return the two-sided p of zero."""
    total = sum(level.variance for level in levels)
    if total <= 0:
        return 1.0 if value == 0 else 0.0
    return _beyond(abs(value) / np.sqrt(total), levels)
