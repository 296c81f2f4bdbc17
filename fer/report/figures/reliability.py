"""Reliability: how often models are right when they say how sure they are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.evaluate.metrics import Reliability, log_probabilities, reliability
from fer.report.analysis import Analysis
from fer.report.figures.canvas import INK, MARKERS, MUTED, OKABE_ITO, blank, cycle, paired, plain
from fer.report.formatting import count
from fer.report.read.load import LoadedResults
from fer.report.summary import comparable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 12  # runs of a training set that have a thin line each
FEW = 10  # pictures; a bin with fewer is left out of the line


@dataclass(frozen=True)
class Confidence:
    """How sure the runs of a training set are: over their pictures together, and each on its own.

    Runs that are too sure and runs that are not sure enough make one line that looks right: the
    error is the mean of theirs.
    """

    together: Reliability
    runs: tuple[Reliability, ...]

    @property
    def error(self) -> float:
        """The expected calibration error of a run, mean over the runs."""
        return float(np.mean([run.error for run in self.runs]))


def confidences(gathered: LoadedResults, analysis: Analysis, split: str) -> dict[str, Confidence]:
    """Return training set -> reliability on `split` of what all training sets have alike.

    Those are the configurations that the answer is about (`comparable`).
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
    there = one.count >= FEW
    axis.plot(one.confidence[there], one.accuracy[there], **looks)


def reliability_figure(gathered: LoadedResults, analysis: Analysis, narrow: bool) -> "Figure":
    """Return one panel a test set, one line a training set; below the diagonal is too sure."""
    splits = paired(analysis)
    figure = blank(4.3, 3.4 * len(splits) + 0.5) if narrow else blank(3.6 * len(splits), 4.0)
    shape = (len(splits), 1) if narrow else (1, len(splits))
    grid = figure.subplots(*shape, squeeze=False).ravel()
    for axis, split in zip(grid, splits, strict=True):
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
        looks = zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False)
        said = []
        for (name, found), (color, marker) in zip(
                confidences(gathered, analysis, split).items(), looks, strict=False):
            for run in found.runs if 1 < len(found.runs) <= MOST_LINES else ():
                _line(axis, run, color=color, linewidth=0.7, alpha=0.35)
            _line(axis, found.together, marker=marker, color=color, markersize=4.5, linewidth=1.4,
                  label=f"trained on {name}")
            said.append(f"{name} {found.error:.2f} ({count(len(found.runs), 'run')})")
        cell = next(cell for (_, where), cell in analysis.cells.items() if where == split)
        axis.set_title(f"{analysis.role(split)}, n = {cell.n:,}\nECE: " + ",\n".join(said),
                       color=INK, fontsize=7.5, loc="left")
        plain(axis)
        axis.set_xlim(1 / max(2, len(analysis.classes)) - 0.05, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel("confidence of the answer")
        axis.set_ylabel("how often it is right", color=MUTED, fontsize=8)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2 if narrow else 4,
                  frameon=False, labelcolor=INK, fontsize=8.5)
    return figure
