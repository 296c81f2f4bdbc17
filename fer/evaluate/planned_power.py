"""What a planned study could detect, from its sizes alone, before there is any result.

The variance of a difference between two configurations has the three parts that its interval will
have (`fer.evaluate.intervals`): the seeds' spread; what one seed gets right by chance and another
does not, both divided by the number of seeds; and what a configuration finds hard and another does
not, in single pictures and in people. What both find hard cancels. The shares are those of the
model in `benchmarks/interval_simulation.py`, and a test compares the result with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.evaluate.significance import THESE_MODELS, smallest_difference, too_small

RECALL = 0.65  # assumed of every class
SEED_SPREAD = 0.02  # assumed standard deviation of a configuration's UAR between its seeds
# shares of the variance p(1 - p) of a picture that is right or wrong
OF_SEED = 0.60  # differs between two seeds of one configuration
OF_PICTURE, OF_PERSON = 0.11, 0.055  # differs between two configurations, whatever the seed


@dataclass(frozen=True)
class PlannedSet:
    """A test set: pictures of each class that it has, and what its people are worth."""

    pictures: tuple[int, ...]
    worth: float


@dataclass(frozen=True)
class Plan:
    """A family of comparisons in one test set.

    Attributes:
        configs: of the study, over which the seed spread is pooled.
        seeds: of each configuration.
        settings: over which each comparison is a mean.
        comparisons: of the family.
    """

    configs: int
    seeds: int
    settings: int
    comparisons: int


def planned_error(test: PlannedSet, plan: Plan) -> tuple[float, float]:
    """Return the expected standard error of a difference in UAR, and its degrees of freedom."""
    wide = len(test.pictures)
    sampling = sum(RECALL * (1 - RECALL) / n for n in test.pictures) / wide ** 2
    each = sum(test.pictures) / test.worth  # pictures of a person
    seeds = 2 * (SEED_SPREAD ** 2 + OF_SEED * sampling) / plan.seeds / plan.settings
    people = 2 * sampling * (OF_PICTURE + OF_PERSON * each) / plan.settings
    free = plan.configs * (plan.seeds - 1)
    variance = seeds + people
    df = variance ** 2 / (people ** 2 / max(test.worth - 1, 1) + seeds ** 2 / max(free, 1))
    return variance ** 0.5, max(df, 1.0)


def detectable_in(test: PlannedSet, plan: Plan) -> float:
    """Return the smallest difference in UAR that would be found in four of five such studies."""
    error, df = planned_error(test, plan)
    return smallest_difference(error, df, plan.comparisons)


def why_no_claim(test: PlannedSet, plan: Plan) -> str:
    """Return why a planned study can claim nothing, whatever comes out; empty if it can."""
    return too_small(test.worth, min(test.pictures), plan.comparisons) or (
        THESE_MODELS if plan.seeds < 2 else "")


def worth_of(support: Sequence[Sequence[int]]) -> float:
    """Return how many equally weighted people the people of a set are worth (Kish 1965).

    Args:
        support: of each person, the pictures of each class.
    """
    totals = [sum(column) for column in zip(*support, strict=True)]
    weights = [sum(n / total for n, total in zip(row, totals, strict=True) if total)
               for row in support]
    return sum(weights) ** 2 / sum(one * one for one in weights)
