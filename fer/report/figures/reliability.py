"""Reliability: how often models are right when they say how sure they are."""

from typing import TYPE_CHECKING

import numpy as np

from fer.evaluate.calibration import Reliability, reliability
from fer.evaluate.metrics import log_probabilities
from fer.report.analyse import Analysis
from fer.report.figures.canvas import INK, MARKERS, MUTED, OKABE_ITO, blank, cycle, paired, plain
from fer.report.read.collect import Gathered
from fer.report.words import count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 10  # pictures; a bin with fewer is left out of the line


def reliabilities(gathered: Gathered, split: str) -> dict[str, tuple[Reliability, int]]:
    """Return training set -> reliability over all its runs on `split`, and how many these are."""
    found: dict[str, tuple[Reliability, int]] = {}
    tables = [one for one in gathered.on(split) if one.predictions is not None]
    for name in dict.fromkeys(one.run.train_on for one in tables):
        own = [one.predictions for one in tables if one.run.train_on == name and one.predictions]
        labels = np.concatenate([one.labels for one in own])
        logits = np.concatenate([one.logits for one in own])
        found[name] = reliability(labels, np.exp(log_probabilities(logits))), len(own)
    return found


def reliability_figure(gathered: Gathered, analysis: Analysis, narrow: bool) -> "Figure":
    """Return one panel a test set, one line a training set; below the diagonal is too sure."""
    splits = paired(analysis)
    figure = blank(4.3, 3.4 * len(splits) + 0.5) if narrow else blank(3.6 * len(splits), 4.0)
    shape = (len(splits), 1) if narrow else (1, len(splits))
    grid = figure.subplots(*shape, squeeze=False).ravel()
    for axis, split in zip(grid, splits, strict=True):
        axis.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":")
        looks = zip(cycle(OKABE_ITO), cycle(MARKERS), strict=True)
        said = []
        for (name, (one, runs)), (color, marker) in zip(
                reliabilities(gathered, split).items(), looks, strict=False):
            there = one.count >= FEW
            axis.plot(one.confidence[there], one.accuracy[there], marker=marker, color=color,
                      markersize=4.5, linewidth=1.4, label=f"trained on {name}")
            said.append(f"{name} {one.error:.2f} ({count(runs, 'run')})")
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
