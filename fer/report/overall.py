"""Findings over all configurations of a study: standing, robustness, agreement, power.

All are computed on the real-mask test set (else the last test set). The planned comparisons are in
`fer.report.comparisons`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from fer.evaluate.bootstrap import Draws, difference, on_seeds
from fer.evaluate.effective_robustness import Line, effective_robustness
from fer.evaluate.intervals import LEVEL, Interval, interval_of
from fer.evaluate.kappa import between_configs, fleiss
from fer.evaluate.significance import Power, pictures_needed
from fer.report.analysis import FEW_PICTURES, Analysis, Cell, gap_draws

METRIC = "uar"
MOST_COMPARED = 64  # configurations: 2,016 pairs, and Holm's adjustment grows with their number
BEST, TIED, BELOW = "best", "tied for best", "below the best"


@dataclass(frozen=True)
class Robustness:
    """The line over configurations, and the distance of each above it, by config_id."""

    line: Line
    above: dict[str, Interval]

    @property
    def fit(self) -> str:
        """The fit of the line, in a sentence."""
        line = self.line
        text = (f"Over {line.configs} configurations the slope is {line.slope:.2f} "
                f"[{line.low:.2f}, {line.high:.2f}], R² = {line.r2:.2f}").replace("-", "−")
        return text + ("." if line.low > 0 else ". The slope is not distinguishable from zero, "
                       "so distances from the line mean little.")


@dataclass(frozen=True)
class Agreement:
    """Mean Cohen's kappa between the runs of each pair of configurations; Fleiss' kappa of all.

    Attributes:
        labels: K names.
        kappa: float64, K x K; on the diagonal between seeds, NaN with one seed.
        overall: Fleiss' kappa over `runs` runs.
    """

    labels: tuple[str, ...]
    kappa: np.ndarray
    overall: float | None
    runs: int
    n: int


@dataclass(frozen=True)
class Overall:
    """Findings over all configurations on `split`.

    Attributes:
        seeds: number of seeds that all configurations share and are ranked on.
        standing: config_id -> `best`, `tied for best` or `below the best`; empty if nothing
            is ranked, for the reason in `why`.
        no_line: why there is no effective robustness; empty if there is, or if not applicable.
        leaders: names of the two best configurations.
        power: number of images needed to distinguish the leaders.
    """

    split: str
    seeds: int
    standing: dict[str, str]
    why: str
    robustness: Robustness | None
    no_line: str
    agreement: Agreement | None
    leaders: tuple[str, str] | None
    power: Power | None


def overall_findings(analysis: Analysis) -> Overall | None:
    """Return the findings over all configurations; None if there are no results."""
    if not analysis.measured_splits():
        return None
    real = analysis.main_split()
    cells = [cell for config in analysis.configs
             if (cell := analysis.cells.get((config.config_id, real))) and cell.draws is not None
             and cell.metrics[METRIC].value is not None]
    cells.sort(key=lambda cell: -(cell.metrics[METRIC].value or 0.0))
    ranked = _on_common_seeds(cells)
    standing, why = _standing(ranked, len(cells))
    leaders, power = _power(ranked)
    robustness = _robustness(analysis, real, cells)
    no_line = ""
    if robustness is not None and robustness.line.slope <= 0:
        no_line = ("no effective robustness: over these configurations real UAR falls with "
                   f"synthetic UAR (slope {robustness.line.slope:.2f}), so one does not predict "
                   "the other")
        robustness = None
    common = len(ranked[0][1].seeds) if ranked else 0
    return Overall(real, common, standing, why, robustness, no_line,
                   _agreement(analysis, cells), leaders, power)


Ranked = list[tuple[Cell, Draws]]


def _on_common_seeds(cells: Sequence[Cell]) -> Ranked:
    """Return the cells with the resamples of their common seeds, best first.

    Means over different seeds, as in a study that is still running, cannot be ranked.
    """
    draws = [cell.draws for cell in cells if cell.draws is not None]
    seeds = sorted(set.intersection(*(set(one.seeds) for one in draws)) if draws else ())
    if not seeds:
        return []
    found = [(cell, on_seeds(one, seeds)) for cell, one in zip(cells, draws, strict=True)]
    return sorted(found, key=lambda pair: -float(pair[1].observed[METRIC].mean()))


def _standing(ranked: Ranked, configs: int) -> tuple[dict[str, str], str]:
    """Return the standing of each configuration, with Holm's adjustment over all pairs.

    All pairs are tested, not only those with the best one, which was selected on the same data.
    """
    if configs < 2:
        return {}, ""
    if not ranked:
        return {}, "no seed is common to all configurations yet, so nothing is ranked"
    if ranked[0][0].n < FEW_PICTURES:
        return {}, f"nothing is ranked on n = {ranked[0][0].n} pictures"
    if configs > MOST_COMPARED:
        return {}, (f"{configs} configurations have too many pairs to rank; see the planned "
                    "comparisons")
    from statsmodels.stats.multitest import multipletests

    pairs = list(combinations(range(len(ranked)), 2))
    tests = [interval_of(difference(ranked[left][1], ranked[right][1]), METRIC)
             for left, right in pairs]
    if any(test.p is None for test in tests):
        return {}, "some configurations have no interval, so nothing is ranked"
    adjusted = multipletests([test.p for test in tests], method="holm")[1]
    worse = {right for (left, right), test, p in zip(pairs, tests, adjusted, strict=True)
             if left == 0 and p < 1 - LEVEL and test.low is not None and test.low > 0}
    names = [cell.config.config_id for cell, _ in ranked]
    found = {name: BELOW if place in worse else TIED for place, name in enumerate(names)}
    if len(worse) == len(names) - 1:
        found[names[0]] = BEST
    return found, ""


def _robustness(analysis: Analysis, split: str, cells: Sequence[Cell]) -> Robustness | None:
    if analysis.gap is None or split != analysis.gap.real or not cells:
        return None
    pairs = [(other, cell) for cell in cells if (other := analysis.cells.get(
        (cell.config.config_id, analysis.gap.synthetic))) and gap_draws(other.draws, cell.draws)]
    if min([cells[0].n, *(other.n for other, _ in pairs)]) < FEW_PICTURES:
        return None
    found = effective_robustness([one.draws for one, _ in pairs if one.draws],
                                 [two.draws for _, two in pairs if two.draws])
    if found is None:
        return None
    line, above = found
    return Robustness(line, {cell.config.config_id: one
                             for (_, cell), one in zip(pairs, above, strict=True)})


def _agreement(analysis: Analysis, cells: Sequence[Cell]) -> Agreement | None:
    tables = [cell.tables for cell in cells if cell.tables is not None]
    runs = sum(len(table.seeds) for table in tables)
    if runs < 2:
        return None
    predicted = np.concatenate([table.predicted for table in tables])
    config = np.repeat(np.arange(len(tables)), [len(table.seeds) for table in tables])
    classes = len(analysis.classes)
    return Agreement(tuple(cell.config.label for cell in cells),
                     between_configs(predicted, config, classes), fleiss(predicted, classes),
                     runs, cells[0].n)


def _power(ranked: Ranked) -> tuple[tuple[str, str] | None, Power | None]:
    if len(ranked) < 2 or ranked[0][0].n < FEW_PICTURES:
        return None, None
    (first, one), (second, two), *_ = ranked
    return (first.config.label, second.config.label), pictures_needed(one, two, METRIC)
