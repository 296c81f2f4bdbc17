"""95 % intervals of scores, differences, gaps and differences of gaps, by one formula.

A contrast is a weighted sum over configurations of a signed sum over test sets. Its variance has a
part of the people (jackknife, `fer.evaluate.jackknife`) and one of the seeds, which is pooled over
the configurations of the study, or the configuration's own where that is larger. The limits are
those of one t distribution (Satterthwaite 1946, 10.2307/3002019). No random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer.evaluate.jackknife import Jackknife

LEVEL = 0.95
TEST_SAMPLING = "test sampling"
SEEDS_AND_TEST = "seeds and test sampling"
LEAST_WORTH = 3  # people; below, no interval
OWN_SPREAD = 4  # a configuration's own seed variance beyond so many pooled ones is named

Sides = tuple[tuple[float, Jackknife], ...]  # sign and score of each test set


@dataclass(frozen=True)
class Interval:
    """The mean over seeds with its 95 % limits.

    Attributes:
        value, low, high: None where undefined (an absent class; too few people).
        kind: the variation included: `test sampling` or `seeds and test sampling`.
        seeds, n, people: number of each; for a gap, `n` and `people` list several test sets.
        p: two-sided, of a true value of zero; meant for differences.
        error, df: standard error and degrees of freedom.
        worth: how many equally weighted people the fewest people of a test set are worth.
        seed_df: degrees of freedom of the variance between seeds; 0 where no configuration of the
            study has two seeds.
        smallest: number of images of the rarest class.
        flawless: whether a class is entirely right or wrong, so that limits rest on the prior.
        uneven: whether a configuration's seeds vary more than `OWN_SPREAD` times the pooled spread.
    """

    value: float | None
    low: float | None
    high: float | None
    kind: str
    seeds: int
    n: tuple[int, ...]
    people: tuple[int, ...]
    p: float | None = None
    error: float = 0.0
    df: float = 1.0
    worth: float = 0.0
    seed_df: int = 0
    smallest: int = 0
    flawless: bool = False
    uneven: bool = False

    def simultaneous(self, comparisons: int) -> "Interval":
        """Return the interval with limits that hold for all of several comparisons (Bonferroni)."""
        if self.value is None or self.low is None or self.high is None or comparisons < 2:
            return self
        wider = quantile(self.df, comparisons) / quantile(self.df)
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return replace(self, low=middle - half * wider, high=middle + half * wider)


def quantile(df: float, comparisons: int = 1) -> float:
    """Return the two-sided 95 % quantile of t, for one of several comparisons."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - (1 - LEVEL) / 2 / comparisons))


@dataclass(frozen=True)
class SeedSpread:
    """The variance between seeds of one signed sum of test sets, pooled over configurations.

    Attributes:
        variance: relative to the scale of a configuration.
        interaction: variance of people x seeds, which the people's part contains too.
        df: the sum of seeds - 1 over the configurations.
    """

    variance: float
    interaction: float
    df: int

    @classmethod
    def pooled(cls, study: Sequence[Sides]) -> "SeedSpread":
        """Return the spread over the configurations of a study that have two seeds or more."""
        several = [sides for sides in study if len(sides[0][1].seeds) > 1]
        free = np.array([len(sides[0][1].seeds) - 1 for sides in several])
        if not several:
            return cls(0.0, 0.0, 0)
        spread = np.array([summed(sides).var(ddof=1) / scale(sides) for sides in several])
        shared = np.array([sum(moved.var(axis=0, ddof=1).sum()
                               for moved in by_people(sides).values()) for sides in several])
        return cls(float(free @ spread / free.sum()), float(free @ shared / free.sum()),
                   int(free.sum()))


def summed(sides: Sides) -> np.ndarray:
    """Return the signed sum over test sets of each seed, S."""
    return np.sum([sign * one.values for sign, one in sides], axis=0)


def by_people(sides: Sides) -> dict[tuple[str, ...], np.ndarray]:
    """Return how far each seed moves without each person, S x G, of each set of people.

    Test sets of the same people are paired; sets of other people are independent.
    """
    found: dict[tuple[str, ...], np.ndarray] = {}
    for sign, one in sides:
        found[one.people] = found.get(one.people, 0.0) + sign * one.deviations
    return found


def scale(sides: Sides) -> float:
    """Return what the variance between seeds of a configuration is proportional to."""
    return sum(one.scale for _, one in sides)


def contrast(terms: Sequence[tuple[float, Sides]], spread: SeedSpread) -> Interval:
    """Return the interval of a weighted sum over configurations.

    Args:
        terms: weight of each configuration, and its scores on the same test sets in one order. The
            seeds of a configuration are the same on all sets.
        spread: pooled over all configurations of the study that have these sets.
    """
    weights = np.array([weight for weight, _ in terms])
    every = [sides for _, sides in terms]
    scores, first = [one for sides in every for _, one in sides], [one for _, one in every[0]]
    value = float(sum(w * sum(sign * one.raw.mean() for sign, one in sides) for w, sides in terms))
    estimate = float(sum(w * summed(sides).mean() for w, sides in terms))
    moved = [{people: each.mean(0) for people, each in by_people(sides).items()}
             for sides in every]
    parts, free = [], []
    for people in moved[0]:
        apart = sum(w * one[people] for w, one in zip(weights, moved, strict=True))
        prior = sum(w ** 2 * one.prior_variance for w, sides in terms for _, one in sides
                    if one.people == people) / len(terms)
        parts.append(float(apart @ apart) + prior)
        free.append(max(min(one.worth for one in first if one.people == people) - 1, 1.0))
    variance, df, uneven = _with_seeds(weights, every, spread, parts, free)
    shown = first[:1] if len({(one.people, one.n) for one in first}) == 1 else first
    found = Interval(
        value, None, None, SEEDS_AND_TEST if spread.df else TEST_SAMPLING,
        min(len(one.seeds) for one in scores), tuple(one.n for one in shown),
        tuple(len(one.people) for one in shown), None, variance ** 0.5, df,
        min(one.worth for one in first), spread.df, min(one.smallest for one in first),
        any(one.flawless for one in scores), uneven)
    if found.worth < LEAST_WORTH:
        return found
    single = len(scores) == 1 and weights[0] == 1 and scores[0].share
    return _limited(found, estimate, scores[0] if single else None)


def _with_seeds(weights: np.ndarray, every: Sequence[Sides], spread: SeedSpread,
                parts: Sequence[float], free: Sequence[float]) -> tuple[float, float, bool]:
    """Return the variance with the seeds' part, its degrees of freedom, and `Interval.uneven`.

    Args:
        parts, free: variance over people and degrees of freedom, of each set of people.
    """
    people, of_seeds, both, uneven = sum(parts), 0.0, 0.0, False
    if spread.df:
        seeds = np.array([len(sides[0][1].seeds) for sides in every])
        own = np.array([summed(sides).var(ddof=1) if len(sides[0][1].seeds) > 1 else 0.0
                        for sides in every])
        common = spread.variance * np.array([scale(sides) for sides in every])
        of_seeds = float((weights ** 2 * np.maximum(common, own) / seeds).sum())
        both = spread.interaction * float((weights ** 2 / seeds).sum())
        uneven = bool((own > OWN_SPREAD * common).any())
    variance = max(people, of_seeds, people + of_seeds - both)
    seed_part = min(of_seeds, variance)
    share = (variance - seed_part) / people if people > 0 else 0.0
    squares = sum((part * share) ** 2 / df for part, df in zip(parts, free, strict=True)) + (
        seed_part ** 2 / spread.df if spread.df else 0.0)
    return variance, max(variance ** 2 / squares, 1.0) if squares > 0 else 1.0, uneven


def _limited(found: Interval, estimate: float, share: Jackknife | None) -> Interval:
    """Return an interval with its limits and p; `share` is the score where it is a single share."""
    from scipy.special import expit, logit, stdtr

    assert found.value is not None
    half = quantile(found.df) * found.error
    low, high = estimate - half, estimate + half
    if share is not None:
        low, high = max(low, 0.0), min(high, 1.0)
        if share.n > 2 * len(share.people):
            reach = half / (estimate * (1 - estimate))
            outer = expit(logit(estimate) + np.array([-reach, reach]))
            low, high = min(low, float(outer[0])), max(high, float(outer[1]))
    p = 2 * float(stdtr(found.df, -abs(estimate) / found.error)) if found.error > 0 else None
    return replace(found, low=min(low, found.value), high=max(high, found.value), p=p)
