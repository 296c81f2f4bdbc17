"""Intervals and p-values from resamples: 95 % limits that hold for few people and few seeds.

With five seeds or more the limits hold the variation between seeds and between people, below
that only test sampling, and they say so. The resamples are `fer.evaluate.bootstrap`'s.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fer.evaluate.bootstrap import RESAMPLES, Draws, Tables, draw, generator

LEVEL = 0.95
SEEDS_NEEDED = 5  # below, the spread of seeds cannot be estimated: 76 % coverage with two
TEST_SAMPLING = "test sampling"
SEEDS_AND_TEST = "seeds and test sampling"


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

    With five seeds or more both people and seeds are resampled, else people only. Deviations
    of either level are stretched (`stretch`), because a bootstrap of few is too narrow. What
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
    deviations = stretch(people) * (means - value)
    variances, freedoms = [float(means.var()) * people / (people - 1)], [people - 1]
    if kind == SEEDS_AND_TEST:
        alike = alike_for_seeds(float(means.var()), interaction(observed, resampled) / count)
        picked = generator("seeds", str(count)).integers(0, count, (len(means), count))
        moved = observed[picked].mean(axis=1) - value
        deviations = np.sqrt(alike) * deviations + stretch(count) * moved
        variances = [alike * variances[0], float(observed.var(ddof=1)) / count]
        freedoms.append(count - 1)
    low, high = np.clip(value + limits_of(deviations), draws.least, -draws.least or 1.0)
    if draws.least == 0 and value in (0.0, 1.0):
        low, high = _all_alike(value, people)
    return Interval(value, float(min(low, value)), float(max(high, value)), kind, **sizes,  # type: ignore[arg-type]
                    p=_p_value(value, variances, freedoms))


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


@lru_cache(maxsize=256)
def stretch(count: float, freedom: float | None = None) -> float:
    """Return sqrt(n / (n - 1)) t / z: a bootstrap of n is too narrow by this factor.

    Args:
        freedom: degrees of freedom of the spread; None for one sample: n - 1.

    Its variance divides by n where the unbiased one divides by n - 1, and its percentiles are
    normal-like where the mean of n has t tails (Hesterberg 2015, 10.1080/00031305.2015.1089789).
    """
    from scipy.stats import norm, t

    tail = (1 + LEVEL) / 2
    return float(np.sqrt(count / (count - 1)) * t.ppf(tail, freedom or count - 1) / norm.ppf(tail))


def _all_alike(value: float, people: float) -> tuple[float, float]:
    """Return Wilson's limits of 0 or 1, where every resample is alike and says nothing."""
    from scipy.stats import norm

    width = norm.ppf((1 + LEVEL) / 2) ** 2 / people
    return (0.0, width / (1 + width)) if value == 0 else (1 / (1 + width), 1.0)


def _p_value(value: float, variances: list[float], freedoms: list[float]) -> float:
    """Return the two-sided p of zero: t with Satterthwaite's degrees of freedom."""
    from scipy.stats import t

    total = sum(variances)
    if total <= 0:
        return 1.0 if value == 0 else 0.0
    freedom = total ** 2 / sum(v ** 2 / f for v, f in zip(variances, freedoms, strict=True))
    return float(2 * t.sf(abs(value) / np.sqrt(total), freedom))
