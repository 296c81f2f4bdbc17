"""Findings over all configurations of a study: their standing and effective robustness.

Both are computed on the real-mask test set (else the last test set). The planned comparisons are in
`fer.report.comparisons`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fer.evaluate.effective_robustness import LEAST_BASELINES, Line, fit_line
from fer.evaluate.significance import THESE_MODELS, claims
from fer.report.analysis import Analysis, Cell
from fer.report.configurations import Config

METRIC = "uar"
MOST_COMPARED = 64  # configurations: 2,016 pairs, and Holm's adjustment grows with their number
BEST, TIED, BELOW = "best", "tied for best", "below the best"


@dataclass(frozen=True)
class Above:
    """The distance of one configuration above the line, as a fraction, with prediction limits.

    Attributes:
        baseline: whether the line was fitted to it.
    """

    value: float
    low: float
    high: float
    baseline: bool


@dataclass(frozen=True)
class Robustness:
    """The line over the baselines, and the distance of each configuration above it."""

    line: Line
    above: dict[str, Above]

    @property
    def fit(self) -> str:
        """The fit of the line, in a sentence."""
        line = self.line
        text = (f"Over {line.configs} baselines the slope is {line.slope:.2f} "
                f"[{line.low:.2f}, {line.high:.2f}], R² = {line.r2:.2f}").replace("-", "−")
        return text + ("." if line.low > 0 else ". The slope is not distinguishable from zero, "
                       "so distances from the line mean little.")


@dataclass(frozen=True)
class Overall:
    """Findings over all configurations on `split`.

    Attributes:
        standing: config_id -> `best`, `tied for best` or `below the best`; empty if nothing
            is ranked, for the reason in `why`.
        of_models: whether the standing is that of these trained models only.
        no_line: why there is no effective robustness; empty if there is, or if not applicable.
    """

    split: str
    standing: dict[str, str]
    of_models: bool
    why: str
    robustness: Robustness | None
    no_line: str


def overall_findings(analysis: Analysis, baselines: Sequence[Mapping[str, Any]] = ()
                     ) -> Overall | None:
    """Return the findings over all configurations; None if there are no results.

    Args:
        baselines: grid keys and values of the configurations that the line is fitted to.
    """
    if not analysis.measured_splits():
        return None
    real = analysis.main_split()
    cells = [cell for config in analysis.configs
             if (cell := analysis.cells.get((config.config_id, real))) and cell.tables is not None
             and cell.metrics[METRIC].value is not None]
    cells.sort(key=lambda cell: -(cell.metrics[METRIC].value or 0.0))
    standing, of_models, why = _standing(analysis, real, cells)
    robustness, no_line = _robustness(analysis, real, cells, baselines)
    return Overall(real, standing, of_models, why, robustness, no_line)


def _standing(analysis: Analysis, split: str,
              cells: Sequence[Cell]) -> tuple[dict[str, str], bool, str]:
    """Return the standing of each configuration, with Holm's adjustment over all pairs.

    All pairs are tested, not only those with the best one, which was selected on the same data.
    """
    if len(cells) < 2:
        return {}, False, ""
    if len(cells) > MOST_COMPARED:
        return {}, False, (f"{len(cells)} configurations have too many pairs to rank; see the "
                           "planned comparisons")
    names = [cell.config.config_id for cell in cells]
    pairs = list(combinations(range(len(names)), 2))
    tests = [analysis.scores.contrast({names[left]: 1, names[right]: -1}, [(1.0, split)], METRIC)
             for left, right in pairs]
    verdicts = claims([one for one in tests if one is not None])
    reason = next((one.reason for one in verdicts if one.reason not in ("", THESE_MODELS)), "")
    if reason or any(one is None for one in tests):
        return {}, False, f"nothing is ranked: {reason or 'some have no score'}"
    worse = {right for (left, right), one in zip(pairs, verdicts, strict=True)
             if left == 0 and one.significant > 0}
    found = {name: BELOW if place in worse else TIED for place, name in enumerate(names)}
    if len(worse) == len(names) - 1:
        found[names[0]] = BEST
    return found, verdicts[0].reason == THESE_MODELS, ""


def _robustness(analysis: Analysis, split: str, cells: Sequence[Cell],
                baselines: Sequence[Mapping[str, Any]]) -> tuple[Robustness | None, str]:
    """Return the distances from the line over the baselines, and why there are none."""
    if analysis.gap is None or split != analysis.gap.real or not baselines:
        return None, ""
    scores: dict[str, tuple[float, float]] = {}
    of_line = []
    for cell in cells:
        config = cell.config
        pair = [analysis.scores.contrast({config.config_id: 1}, [(1.0, one)], METRIC)
                for one in (analysis.gap.synthetic, split)]
        values = [one.value for one in pair if one is not None and one.value is not None]
        if len(values) == 2:
            scores[config.config_id] = values[0], values[1]
            of_line += [config.config_id] if is_baseline(config, baselines) else []
    if len(of_line) < LEAST_BASELINES:
        return None, (f"no effective robustness: {len(of_line)} measured baselines, and a line "
                      f"takes {LEAST_BASELINES}")
    line = fit_line([scores[name] for name in of_line])
    if line is None or line.slope <= 0:
        return None, ("no effective robustness: over the baselines real UAR does not rise with "
                      "synthetic UAR" + (f" (slope {line.slope:.2f})" if line else "")
                      + ", so one does not predict the other")
    found = {}
    for name, (synthetic, real) in scores.items():
        value, low, high = (real - line.real(synthetic, side) for side in (0, 1, -1))
        found[name] = Above(value, low, high, name in of_line)
    return Robustness(line, found), ""


def is_baseline(config: Config, baselines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a configuration matches all values of one of the baselines."""
    def matches(key: str, value: Any) -> bool:
        wanted = [str(one) for one in (value if isinstance(value, list) else [value])]
        return config.runs[0].value(key) in wanted

    return any(all(matches(*item) for item in one.items()) for one in baselines)
