"""Reliability diagrams: accuracy against confidence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.evaluate.metrics import Reliability, log_probabilities, reliability
from fer.report.analysis import Analysis
from fer.report.figures.canvas import INK, MARKERS, MUTED, OKABE_ITO, blank, cycle, paired, plain
from fer.report.formatting import count
from fer.report.read.load_results import LoadedResults
from fer.report.summary import comparable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 12  # with more runs per training set, single runs are not drawn
FEW = 10  # bins with fewer images are left out


@dataclass(frozen=True)
class Confidence:
    """The reliability of the runs of a training set, pooled and for each run.

    Pooling overconfident and underconfident runs hides both, so the error is the mean over runs.
    """

    together: Reliability
    runs: tuple[Reliability, ...]

    @property
    def error(self) -> float:
        """The expected calibration error, mean over the runs."""
        return float(np.mean([run.error for run in self.runs]))


def confidences(gathered: LoadedResults, analysis: Analysis, split: str) -> dict[str, Confidence]:
    """Return training set -> reliability on `split`.

    Only the configurations that all training sets share are included (`comparable`).
    """
    found: dict[str, Confidence] = {}
    for name, configs in comparable(analysis)[0].items():
        runs = {run.run for config in configs for run in config.runs}
        own = [one.predictions for one in gathered.on(split)
               if one.run.run in runs and one.predictions]
        if not own:
            continue
        labels = [one.labels for one in own]
        sure = [np.exp(log_probabilities(one.logits)) for one in own]
        found[name] = Confidence(
            reliability(np.concatenate(labels), np.concatenate(sure)),
            tuple(reliability(*pair) for pair in zip(labels, sure, strict=True)))
    return found


def _line(axis: "Axes", one: Reliability, **looks: Any) -> None:
    enough = one.count >= FEW
    axis.plot(one.confidence[enough], one.accuracy[enough], **looks)


def reliability_figure(gathered: LoadedResults, analysis: Analysis, narrow: bool) -> "Figure":
    """Return a figure with one panel per test set and one line per training set.

    Below the diagonal models are overconfident.
    """
    splits = paired(analysis)
    figure = blank(4.3, 3.4 * len(splits) + 0.5) if narrow else blank(3.6 * len(splits), 4.0)
    shape = (len(splits), 1) if narrow else (1, len(splits))
    grid = figure.subplots(*shape, squeeze=False).ravel()
    for axis, split in zip(grid, splits, strict=True):
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
        looks = zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False)
        errors = []
        for (name, found), (color, marker) in zip(
                confidences(gathered, analysis, split).items(), looks, strict=False):
            for run in found.runs if 1 < len(found.runs) <= MOST_LINES else ():
                _line(axis, run, color=color, linewidth=0.7, alpha=0.35)
            _line(axis, found.together, marker=marker, color=color, markersize=4.5, linewidth=1.4,
                  label=f"trained on {name}")
            errors.append(f"{name} {found.error:.2f} ({count(len(found.runs), 'run')})")
        cell = next(cell for (_, where), cell in analysis.cells.items() if where == split)
        axis.set_title(f"{analysis.role(split)}, n = {cell.n:,}\nECE: " + ",\n".join(errors),
                       color=INK, fontsize=7.5, loc="left")
        plain(axis)
        axis.set_xlim(1 / max(2, len(analysis.classes)) - 0.05, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel("confidence")
        axis.set_ylabel("accuracy", color=MUTED, fontsize=8)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2 if narrow else 4,
                  frameon=False, labelcolor=INK, fontsize=8.5)
    return figure
