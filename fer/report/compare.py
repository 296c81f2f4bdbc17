"""The planned comparisons of a study: who is better, where the noise allows to say so.

A family is every pair of configurations that differ in one grid key only, on every test set
that the study names. A rank is claimed where Holm's adjusted p is below 5 % and the interval
excludes zero; everything else is tied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from fer.config.study import Comparison, Study
from fer.evaluate.bootstrap import difference
from fer.evaluate.interval import LEVEL, Interval, interval_of
from fer.report.analyse import FEW_PICTURES, Analysis, Cell, Config

METRIC = "uar"


@dataclass(frozen=True)
class Pair:
    """Two configurations that differ in one key, on one test set.

    Attributes:
        left, right: values of the key. among: what both share.
        difference: left minus right, in UAR.
        adjusted: Holm's p within the family; None where nothing is tested.
        verdict: `left`, `right`, `tied`, or why nothing is claimed.
    """

    split: str
    among: str
    left: str
    right: str
    difference: Interval
    adjusted: float | None
    verdict: str

    @property
    def winner(self) -> str | None:
        """The value that is better outside the noise, if one is."""
        return {"left": self.left, "right": self.right}.get(self.verdict)


@dataclass(frozen=True)
class Family:
    """One family of planned comparisons; `notes` says what could not be compared."""

    name: str
    over: str
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]

    @property
    def ranked(self) -> int:
        """How many pairs differ outside the noise."""
        return sum(pair.winner is not None for pair in self.pairs)


def compare(study: Study, analysis: Analysis) -> list[Family]:
    """Return every family of comparisons that `study` declares."""
    return [_family(name, plan, analysis) for name, plan in study.compare.items()]


def _family(name: str, plan: Comparison, analysis: Analysis) -> Family:
    """Return one family with Holm's adjustment over all of its pairs."""
    notes: list[str] = []
    groups = _groups(analysis.configs, plan.over)
    if not groups:
        notes.append(f"no run has a grid key '{plan.over}'")
    pairs: list[Pair] = []
    for split in plan.on:
        if split not in analysis.splits:
            notes.append(f"{split} is not in evaluate_on")
        for among, configs in groups.items():
            cells = {value: cell for value, config in configs.items()
                     if (cell := analysis.cells.get((config.config_id, split))) is not None}
            pairs += [pair for left, right in combinations(cells, 2)
                      if (pair := _pair(split, among, left, right, cells)) is not None]
    if not pairs:
        notes.append("nothing to compare yet")
    return Family(name, plan.over, tuple(_adjust(pairs)), tuple(dict.fromkeys(notes)))


def _groups(configs: Sequence[Config], over: str) -> dict[str, dict[str, Config]]:
    """Return what configurations share -> value of `over` -> configuration."""
    groups: dict[str, dict[str, Config]] = {}
    for config in configs:
        run = config.runs[0]
        value = None if over == "seed" else run.value(over)
        if value is None:
            continue
        rest = [("", config.backbone), ("", config.recipe), ("", config.train_on)]
        kept = [text for (_, text), key in zip(rest, ("backbone", "recipe", "train_on"),
                                               strict=True) if key != over]
        kept += [f"{key}={text}" for key, text in config.axes if key != over]
        groups.setdefault(" · ".join(kept), {})[value] = config
    return groups


def _pair(split: str, among: str, left: str, right: str,
          cells: Mapping[str, Cell]) -> Pair | None:
    """Return the difference of two cells, not adjusted yet; None where they share no seed."""
    one, two = cells[left].draws, cells[right].draws
    if one is None or two is None or not set(one.seeds) & set(two.seeds):
        return None
    found = interval_of(difference(one, two), METRIC)
    verdict = "tied"
    if cells[left].n < FEW_PICTURES:
        verdict = f"not ranked: n < {FEW_PICTURES}"
    elif found.p is None:
        verdict = "not ranked: no interval"
    return Pair(split, among, left, right, found, None, verdict)


def _adjust(pairs: Sequence[Pair]) -> list[Pair]:
    """Return `pairs` with Holm's p and the verdict that follows."""
    tested = [pair for pair in pairs if pair.verdict == "tied"]
    if not tested:
        return list(pairs)
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([pair.difference.p for pair in tested], method="holm")[1]
    found = {id(pair): float(p) for pair, p in zip(tested, adjusted, strict=True)}
    return [replace(pair, adjusted=found[id(pair)], verdict=_verdict(pair, found[id(pair)]))
            if id(pair) in found else pair for pair in pairs]


def _verdict(pair: Pair, adjusted: float) -> str:
    low, high = pair.difference.low, pair.difference.high
    if low is None or high is None or adjusted >= 1 - LEVEL or low <= 0 <= high:
        return "tied"
    return "left" if low > 0 else "right"
