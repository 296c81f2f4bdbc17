"""Formatting of numbers with their n, intervals and seeds.

Shared by the page, the Markdown, the LaTeX and the terminal.
"""

from collections.abc import Sequence

from fer.errors import noun_for
from fer.evaluate.intervals import Interval
from fer.evaluate.significance import KNOWN_SPREAD, POORLY_KNOWN, THESE_MODELS

NONE = "–"


def score(one: Interval | None) -> str:
    """Return `0.74 [0.70, 0.78]`."""
    if one is None or one.value is None:
        return NONE
    return f"{one.value:.2f}" + (
        "" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]")


def points(one: Interval | None) -> str:
    """Return a difference in percentage points, `+19.2 [+14.1, +24.3]`."""
    if one is None or one.value is None:
        return NONE
    return signed(one.value) + ("" if one.low is None or one.high is None else
                                f" [{signed(one.low)}, {signed(one.high)}]")


def signed(value: float) -> str:
    """Return a fraction as signed percentage points with a true minus sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def count(number: int, noun: str) -> str:
    """Return `1 seed`, `2 seeds`."""
    return f"{number:,} {noun_for(number, noun)}"


def each(numbers: Sequence[int]) -> str:
    """Return `400 and 240`, or `400` when there is one."""
    return " and ".join(f"{number:,}" for number in numbers)


def sizes(one: Interval) -> str:
    """Return `n = 400 and 240 pictures of 180 and 90 people, 2 seeds`."""
    return f"n = {each(one.n)} pictures{of_people(one.people)}, {count(one.seeds, 'seed')}"


def of_people(people: Sequence[int]) -> str:
    """Return ` of 180 and 90 people`, or ` of 180 and unknown people` where nobody is known."""
    named = [f"{number:,}" if number else "unknown" for number in people]
    return f" of {' and '.join(named)} people" if named else ""


def caveat(intervals: Sequence[Interval]) -> str:
    """Return a sentence on what these intervals include and what they leave out."""
    free = min((one.seed_df for one in intervals), default=0)
    if not free:
        return (f"With one seed a configuration, intervals include people only: {THESE_MODELS}. "
                "A difference is one between these models, not between the methods.")
    more = f"; {POORLY_KNOWN}" if free < KNOWN_SPREAD else ""
    return ("Intervals include the variation between people and between seeds. The seeds' variance "
            f"is pooled over the configurations ({free} degrees of freedom{more}).")


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
