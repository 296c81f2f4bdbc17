"""What may be claimed of differences: Holm's adjustment, and the situations that allow no claim.

The thresholds are those that a simulation supports (`benchmarks/interval_simulation.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.evaluate.intervals import LEVEL, Interval, quantile

LEAST_WORTH = 8  # people for a claim
LEAST_WORTH_OF_MANY, MANY = 15, 8  # in families of more than MANY comparisons
LEAST_PICTURES = 5  # of the rarest class
RARE = 12  # pictures of a class; below, limits rest largely on the prior
KNOWN_SPREAD = 6  # degrees of freedom between seeds
POWER = 0.8  # the conventional power of a test (Cohen 1988)
NO_INTERVAL = "too few people to generalise"
THESE_MODELS = "these trained models only; other seeds may differ"
POORLY_KNOWN = "seed spread poorly known"
UNEVEN = "the baseline's seeds vary far more than the others'"
PRIOR = "these limits come largely from the prior"


@dataclass(frozen=True)
class Claim:
    """Whether a difference may be claimed.

    Attributes:
        sign: 1 or -1 where the difference is claimed for the methods; 0 where it is not.
        reason: why nothing may be claimed; empty if something may be.
        adjusted: Holm's p within the family; None where nothing was tested.
        significant: 1 or -1 where the difference is significant, for methods or for these models.
        marked: a caution that belongs beside the claim; empty if there is none.
    """

    sign: int
    reason: str
    adjusted: float | None
    significant: int
    marked: str


def no_claim(one: Interval, comparisons: int = 1) -> str:
    """Return why a contrast of UAR allows no claim about methods; empty if it does."""
    if one.low is None or one.p is None:
        return NO_INTERVAL
    if reason := too_small(one.worth, one.smallest, comparisons):
        return reason
    return "" if one.seed_df else THESE_MODELS


def too_small(worth: float, smallest: int, comparisons: int) -> str:
    """Return why a test set allows no claim, whatever its results; empty if it does.

    Args:
        worth: number of equally weighted people that its people are worth.
        smallest: pictures of its smallest class.
        comparisons: of the family.
    """
    least = LEAST_WORTH_OF_MANY if comparisons > MANY else LEAST_WORTH
    if worth < least:
        return f"people worth {worth:.0f} of {least} that a claim needs"
    if smallest < LEAST_PICTURES:
        return f"a class has {smallest} of {LEAST_PICTURES} pictures that a claim needs"
    return ""


def claims(family: Sequence[Interval], baseline: Interval | None = None) -> list[Claim]:
    """Return what may be claimed of each difference of a family, adjusted by Holm's method.

    Args:
        baseline: the score of the configuration that all others are compared with, if there is
            one; if its own seeds vary far more than the pooled spread, nothing is claimed.
    """
    tested = [place for place, one in enumerate(family) if one.p is not None]
    adjusted = dict(zip(tested, holm([family[place].p or 0.0 for place in tested]), strict=True))
    found = []
    for place, one in enumerate(family):
        reason = no_claim(one, len(tested))
        if not reason and baseline is not None and baseline.uneven:
            reason = UNEVEN
        p = adjusted.get(place)
        significant = 0
        if p is not None and p < 1 - LEVEL and one.low is not None and one.high is not None:
            significant = 1 if one.low > 0 else -1 if one.high < 0 else 0
        marked = POORLY_KNOWN if significant and 0 < one.seed_df < KNOWN_SPREAD else ""
        found.append(Claim(0 if reason else significant, reason, p,
                           significant if reason in ("", THESE_MODELS) else 0, marked))
    return found


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values (1979): the k-th smallest of m times m - k + 1, rising."""
    order = sorted(range(len(p)), key=lambda place: p[place])
    found, least = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        found[place] = least
    return found


def detectable(one: Interval, comparisons: int) -> float | None:
    """Return the smallest difference found with 80 % power; None without an interval."""
    if one.low is None or one.error <= 0:
        return None
    return smallest_difference(one.error, one.df, comparisons)


def smallest_difference(error: float, df: float, comparisons: int) -> float:
    """Return the smallest difference found with 80 % power, for a standard error.

    It is (t of the two-sided 5 % level of one of several comparisons + t of the power) standard
    errors, as Bloom (1995, 10.1177/0193841X9501900504) defines the minimum detectable effect.
    """
    from scipy.special import stdtrit

    return (quantile(df, comparisons) + float(stdtrit(df, POWER))) * error
