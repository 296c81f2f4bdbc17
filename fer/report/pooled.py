"""One value of a grid key over all configurations that share it.

Reports the interquartile mean and the probability of improvement, which are robust to single failed
runs (Agarwal et al. 2021, 2108.13264). A group holds configurations that differ in the key only;
groups that lack a value are excluded, so all values are compared on the same groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer.evaluate.bootstrap import Draws
from fer.evaluate.intervals import Interval
from fer.evaluate.significance import improvement, middle_mean
from fer.report.analysis import Cell

METRIC = "uar"


@dataclass(frozen=True)
class Pooled:
    """One value on one test set, over `configs` configurations and `runs` runs.

    Attributes:
        middle: interquartile mean of UAR over the runs.
        better: probability that one of its runs beats one of another value in the same group.
    """

    split: str
    value: str
    configs: int
    runs: int
    middle: Interval
    better: Interval


def pool_by_key(split: str, groups: Sequence[Mapping[str, Cell]]) -> list[Pooled]:
    """Return each value over the groups that have all values; empty for a single value."""
    values = list(dict.fromkeys(value for group in groups for value in group))
    whole: list[dict[str, Draws]] = []
    for group in groups:
        draws = {value: cell.draws for value, cell in group.items() if cell.draws is not None}
        if len(draws) == len(values):
            whole.append(draws)
    if len(values) < 2 or not whole:
        return []
    found = []
    for value in values:
        own = [group[value] for group in whole]
        pairs = [(group[value], group[other]) for group in whole
                 for other in values if other != value]
        left, right = zip(*pairs, strict=True)
        found.append(Pooled(split, value, len(own), sum(len(one.seeds) for one in own),
                            middle_mean(own, METRIC), improvement(left, right, METRIC)))
    return found
