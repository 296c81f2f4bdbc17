"""95 % intervals of scores, differences, gaps and differences of gaps, by one formula.

A contrast is a weighted sum over configurations of a signed sum over test sets. Its variance has a
part of the people (jackknife, `fer.evaluate.jackknife`) and one of the seeds, which is pooled over
the configurations of the study, or the configuration's own where that is larger. The limits are
those of one t distribution (Satterthwaite 1946, 10.2307/3002019). No random numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fer.evaluate.jackknife import Jackknife

LEVEL = 0.95
TEST_SAMPLING = "test sampling"
SEEDS_AND_TEST = "seeds and test sampling"
LEAST_WORTH = 3  # people; below, no interval
OWN_SPREAD = 4  # a configuration's own seed variance beyond so many pooled ones is named


@dataclass(frozen=True)
class Interval:
    """The mean over seeds with its 95 % limits.

    Attributes:
        value, low, high: None where undefined (an absent class; too few people).
        kind: the variation included: `test sampling` or `seeds and test sampling`.
        seeds, n, people: number of each; for a gap, `n` and `people` list several test sets.
            People who are known by name: 0 where nobody is.
        p: two-sided, of a true value of zero; meant for differences.
        error, df: standard error and degrees of freedom.
        worth: how many equally weighted people the fewest people of a test set are worth.
        seed_df: degrees of freedom of the variance between seeds; 0 where no configuration of the
            study has two seeds.
        smallest: number of images of the rarest class.
        flawless: whether a class is entirely right or wrong, so that limits rest on the prior.
        uneven: whether the seeds vary more than `OWN_SPREAD` times as much as the pooled spread.
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

    def rooted(self) -> "Interval":
        """Return the interval of the root of a mean square, 0 where its estimate is less."""
        value, low, high = (None if number is None else max(number, 0.0) ** 0.5
                            for number in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, p=None)


def quantile(df: float, comparisons: int = 1) -> float:
    """Return the two-sided 95 % quantile of t, for one of several comparisons."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 1 - (1 - LEVEL) / 2 / comparisons))


@dataclass(frozen=True)
class SignedSum:
    """One configuration: the signed sum of its scores on one or several test sets.

    Attributes:
        parts: sign and score on each test set; the seeds are the same on all.
    """

    parts: tuple[tuple[float, Jackknife], ...]

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.parts[0][1].seeds)

    @cached_property
    def values(self) -> np.ndarray:
        """float64, S: the sum of each seed."""
        return np.asarray(sum(sign * one.values for sign, one in self.parts))

    @cached_property
    def variance(self) -> float:
        """The variance between seeds; 0 with one seed."""
        return float(self.values.var(ddof=1)) if self.seeds > 1 else 0.0

    @cached_property
    def scale(self) -> float:
        """What the variance between seeds is proportional to."""
        return sum(one.scale for _, one in self.parts)

    @cached_property
    def deviations(self) -> dict[tuple[str, ...], np.ndarray]:
        """S x G of each set of people: how far each seed moves without each person.

        Test sets of the same people are paired; sets of other people are independent.
        """
        found: dict[tuple[str, ...], np.ndarray] = {}
        for sign, one in self.parts:
            found[one.people] = found.get(one.people, 0.0) + sign * one.deviations
        return found

    @cached_property
    def moved(self) -> dict[tuple[str, ...], np.ndarray]:
        """G of each set of people: `deviations` of the mean over seeds."""
        return {people: apart.mean(0) for people, apart in self.deviations.items()}

    @cached_property
    def interaction(self) -> float:
        """The variance of people x seeds; 0 with one seed."""
        return float(sum(((apart - self.moved[people]) ** 2).sum() for people, apart
                         in self.deviations.items()) / max(self.seeds - 1, 1))


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
    def pooled(cls, study: Sequence[SignedSum]) -> "SeedSpread":
        """Return the spread over the configurations of a study that have two seeds or more."""
        several = [one for one in study if one.seeds > 1]
        free = sum(one.seeds - 1 for one in several)
        if not free:
            return cls(0.0, 0.0, 0)
        return cls(sum((one.seeds - 1) * one.variance / one.scale for one in several) / free,
                   sum((one.seeds - 1) * one.interaction for one in several) / free, free)


def contrast(terms: Sequence[tuple[float, SignedSum]], spread: SeedSpread) -> Interval:
    """Return the interval of a weighted sum over configurations.

    Args:
        terms: weight and scores of each configuration, on the same test sets in one order.
        spread: pooled over all configurations of the study that have these sets.
    """
    sets = [one for _, one in terms[0][1].parts]
    value = sum(w * sum(sign * float(one.raw.mean()) for sign, one in term.parts)
                for w, term in terms)
    estimate = sum(w * float(term.values.mean()) for w, term in terms)
    parts, free = [], []
    for people in terms[0][1].moved:
        apart = sum(w * term.moved[people] for w, term in terms)
        prior = sum(w * w * one.prior_variance for w, term in terms for _, one in term.parts
                    if one.people == people) / len(terms)
        parts.append(float(np.dot(apart, apart)) + prior)
        free.append(max(min(one.worth for one in sets if one.people == people) - 1, 1.0))
    variance, df = _with_seeds(terms, spread, parts, free)
    shown = sets[:1] if len({(one.people, one.n) for one in sets}) == 1 else sets
    found = Interval(
        value, None, None, SEEDS_AND_TEST if spread.df else TEST_SAMPLING,
        min(term.seeds for _, term in terms), tuple(one.n for one in shown),
        tuple(one.named for one in shown), None, variance ** 0.5, df,
        min(one.worth for one in sets), spread.df, min(one.smallest for one in sets),
        any(one.flawless for _, term in terms for _, one in term.parts),
        _uneven(terms, spread))
    if found.worth < LEAST_WORTH:
        return found
    single = len(terms) == len(sets) == 1 and terms[0][0] == 1 and sets[0].share
    return _limited(found, estimate, sets[0] if single else None)


def _uneven(terms: Sequence[tuple[float, SignedSum]], spread: SeedSpread) -> bool:
    """Return whether the own seed variance of all terms is far more than the pooled one gives."""
    own, pooled = (sum(w * w * part / term.seeds for (w, term), part in zip(terms, of, strict=True))
                   for of in ([term.variance for _, term in terms],
                              [spread.variance * term.scale for _, term in terms]))
    return own > OWN_SPREAD * pooled


def _with_seeds(terms: Sequence[tuple[float, SignedSum]], spread: SeedSpread,
                parts: Sequence[float], free: Sequence[float]) -> tuple[float, float]:
    """Return the variance with the seeds' part, and its degrees of freedom.

    Args:
        parts, free: variance over people and degrees of freedom, of each set of people.
    """
    people, of_seeds, both = sum(parts), 0.0, 0.0
    if spread.df:
        of_seeds = sum(w * w * max(spread.variance * term.scale, term.variance) / term.seeds
                       for w, term in terms)
        both = spread.interaction * sum(w * w / term.seeds for w, term in terms)
    variance = max(people, of_seeds, people + of_seeds - both)
    seed_part = min(of_seeds, variance)
    share = (variance - seed_part) / people if people > 0 else 0.0
    squares = sum((part * share) ** 2 / df for part, df in zip(parts, free, strict=True)) + (
        seed_part ** 2 / spread.df if spread.df else 0.0)
    return variance, max(variance ** 2 / squares, 1.0) if squares > 0 else 1.0


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
