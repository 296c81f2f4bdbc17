"""The planned comparisons of a study.

A family consists of every pair of configurations that differ in one grid key only, on every test
set that the study names. A difference is claimed if Holm's adjusted p is below 5 % and the interval
excludes zero; all other pairs are tied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from fer.config.study import Comparison, Study
from fer.evaluate.bootstrap import SEEDS_NEEDED, difference
from fer.evaluate.intervals import LEVEL, Interval, interval_of
from fer.evaluate.significance import McNemar, cochran_q, mcnemar
from fer.report.analysis import FEW_PICTURES, Analysis, Cell, Config, gap_draws
from fer.report.pooled import Pooled, pool_by_key

METRIC = "uar"
STUDY = "study"  # the axis of a report on several studies (`fer.report.multi_study`)


@dataclass(frozen=True)
class Pair:
    """Two configurations that differ in one key, on one test set.

    Attributes:
        left, right: values of the key. among: the settings that both share.
        difference: left minus right, in UAR.
        gap: on the real set, the gap of left minus that of right, in UAR; None elsewhere. It is
            not part of the family of tests.
        exact: McNemar's test for each seed that both have.
        adjusted: Holm's p within the family; None if not tested.
        verdict: `left`, `right`, `tied`, or the reason why the pair is not ranked.
    """

    split: str
    among: str
    left: str
    right: str
    difference: Interval
    exact: tuple[McNemar, ...]
    adjusted: float | None
    verdict: str
    gap: Interval | None = None

    @property
    def winner(self) -> str | None:
        """The significantly better value, if there is one."""
        return {"left": self.left, "right": self.right}.get(self.verdict)

    @property
    def of_runs(self) -> bool:
        """Whether a claimed difference holds for these runs only, because there are few seeds."""
        return self.winner is not None and self.difference.seeds < SEEDS_NEEDED

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.winner is None:
            return self.verdict
        return f"{self.winner} is better{' in these runs' if self.of_runs else ''}"


@dataclass(frozen=True)
class Omnibus:
    """Cochran's Q test of all values, by seed: p of the hypothesis of equal accuracy."""

    split: str
    among: str
    values: tuple[str, ...]
    p: tuple[float | None, ...]
    n: int


@dataclass(frozen=True)
class Family:
    """One family of planned comparisons; `notes` lists what could not be compared.

    `pooled` has each value over all configurations that share it; `omnibus` has the joint tests of
    three values or more.
    """

    name: str
    over: str
    pairs: tuple[Pair, ...]
    pooled: tuple[Pooled, ...]
    omnibus: tuple[Omnibus, ...]
    notes: tuple[str, ...]

    @property
    def ranked(self) -> int:
        """The number of pairs that differ significantly."""
        return sum(pair.winner is not None for pair in self.pairs)

    @property
    def of_runs(self) -> bool:
        """Whether any claimed difference holds for these runs only."""
        return any(pair.of_runs for pair in self.pairs)

    @property
    def of_whom(self) -> str:
        """The caveat on the number of significant pairs; empty if all have enough seeds."""
        return f", in these runs (fewer than {SEEDS_NEEDED} seeds)" if self.of_runs else ""


def compare(study: Study, analysis: Analysis) -> list[Family]:
    """Return every family of comparisons that `study` declares."""
    return [_family(name, plan, analysis) for name, plan in study.compare.items()]


def _family(name: str, plan: Comparison, analysis: Analysis) -> Family:
    """Return one family, with Holm's adjustment over all of its pairs."""
    notes: list[str] = []
    groups = _groups(analysis.configs, plan.over)
    if not groups:
        notes.append(f"no run has a grid key '{plan.over}'")
    pairs: list[Pair] = []
    pooled: list[Pooled] = []
    omnibus: list[Omnibus] = []
    for split in plan.on:
        if split not in analysis.splits:
            notes.append(f"{split} is not in evaluate_on")
        by_group = {among: {value: cell for value, config in configs.items()
                            if (cell := analysis.cells.get((config.config_id, split)))}
                    for among, configs in groups.items()}
        pooled += pool_by_key(split, list(by_group.values()))
        for among, cells in by_group.items():
            omnibus += _omnibus(split, among, cells)
        pairs += _pairs(split, by_group, analysis)
    if not pairs:
        notes.append("nothing to compare yet")
    return Family(name, plan.over, tuple(_adjust(pairs)), tuple(pooled), tuple(omnibus),
                  tuple(dict.fromkeys(notes)))


def _pairs(split: str, by_group: Mapping[str, Mapping[str, Cell]], analysis: Analysis
           ) -> list[Pair]:
    """Return the pairs of all groups; a pair shared by two studies counts once."""
    found: dict[tuple[str, str], Pair] = {}
    for among, cells in by_group.items():
        for left, right in combinations(cells, 2):
            ids = cells[left].config.config_id, cells[right].config.config_id
            pair = None if ids in found else _pair(split, among, left, right, cells)
            if pair is not None:
                found[ids] = replace(pair, gap=_gap_apart(split, *ids, analysis))
    return list(found.values())


def _groups(configs: Sequence[Config], over: str) -> dict[str, dict[str, Config]]:
    """Return shared settings -> value of `over` -> configuration."""
    groups: dict[str, dict[str, Config]] = {}
    for config in configs:
        value = None if over == "seed" else config.runs[0].value(over)
        if value is None:
            continue
        rest = [("", config.backbone), ("", config.recipe), ("", config.train_on)]
        kept = [text for (_, text), key in zip(rest, ("backbone", "recipe", "train_on"),
                                               strict=True) if key != over]
        for study in _studies(config) if over != STUDY else [""]:
            axes = [f"{key}={study if key == STUDY else text}" for key, text in config.axes
                    if key != over]
            groups.setdefault(" · ".join([*kept, *axes]), {})[value] = config
    once: dict[tuple[str, ...], str] = {}  # a group shared by several studies counts once
    for among, group in groups.items():
        once.setdefault(tuple(config.config_id for config in group.values()), among)
    return {among: groups[among] for among in once.values()}


def _studies(config: Config) -> list[str]:
    """Return the studies that a configuration belongs to; one empty name in a single-study report.

    It is compared within each of them, as in their own reports.
    """
    return dict(config.axes).get(STUDY, "").split("+")


def _pair(split: str, among: str, left: str, right: str,
          cells: Mapping[str, Cell]) -> Pair | None:
    """Return the difference of two cells, not yet adjusted; None if they share no seed."""
    one, two = cells[left].draws, cells[right].draws
    if one is None or two is None or not set(one.seeds) & set(two.seeds):
        return None
    found = interval_of(difference(one, two), METRIC)
    verdict = "tied"
    if cells[left].n < FEW_PICTURES:
        verdict = f"not ranked: n < {FEW_PICTURES}"
    elif found.p is None:
        verdict = "not ranked: no interval"
    exact = _exact(cells[left], cells[right])
    return Pair(split, among, left, right, found, exact, None, verdict)


def _gap_apart(split: str, left: str, right: str, analysis: Analysis) -> Interval | None:
    """Return the difference of two configurations' gaps; None if `split` is not the real set."""
    gap = analysis.gap
    if gap is None or split != gap.real:
        return None
    gaps = [gap_draws(*(cell.draws if (cell := analysis.cells.get((name, one))) else None
                        for one in (gap.synthetic, gap.real))) for name in (left, right)]
    apart = gap_draws(*gaps)
    return interval_of(apart, METRIC) if apart else None


def _exact(left: Cell, right: Cell) -> tuple[McNemar, ...]:
    """Return McNemar's test for each seed that two configurations share."""
    one, two = left.tables, right.tables
    assert one is not None and two is not None, "there are resamples of both"
    return tuple(mcnemar(seed, one.right[one.seeds.index(seed)], two.right[two.seeds.index(seed)])
                 for seed in one.seeds if seed in two.seeds)


def _omnibus(split: str, among: str, cells: Mapping[str, Cell]) -> list[Omnibus]:
    """Return Cochran's Q of three values or more on their common seeds; empty otherwise."""
    tables = {value: cell.tables for value, cell in cells.items() if cell.tables is not None}
    seeds = sorted(set.intersection(*(set(one.seeds) for one in tables.values()))
                   if len(tables) > 2 else ())
    found = tuple(cochran_q(np.stack([one.right[one.seeds.index(seed)] for one in tables.values()],
                                     axis=1)) for seed in seeds)
    sizes = [one.n for one in tables.values()]
    return [Omnibus(split, among, tuple(tables), found, sizes[0])] if found else []


def _adjust(pairs: Sequence[Pair]) -> list[Pair]:
    """Return `pairs` with Holm's p and the resulting verdict."""
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
