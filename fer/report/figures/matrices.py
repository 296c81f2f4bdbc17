"""Confusion matrices: rows are true classes, columns predicted ones."""

from typing import TYPE_CHECKING

import numpy as np

from fer.report.analysis import Analysis, Cell
from fer.report.figures.canvas import INK, blank, fitted, paired
from fer.report.formatting import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CONFUSIONS_SHOWN = 12
INCHES = 0.52  # per cell
SIDE, HEAD = 2.4, 0.95  # space for class names beside a matrix and above its title, in cells
LINE = 0.27  # height of a title line, in cells
LETTERS, LINES = 40, 3  # maximum size of a configuration's name


def confusion_figure(analysis: Analysis) -> "Figure":
    """Return the confusion matrices, one row per configuration and one column per test set.

    All share one pair of axes, because two dozen axes take seconds to draw.
    """
    splits = paired(analysis)
    measured = [c for c in analysis.configs
             if any((c.config_id, s) in analysis.cells for s in splits)]
    configs = measured[:CONFUSIONS_SHOWN]
    width = max(2, len(analysis.classes))
    head = HEAD + LINE * max((fitted(config.label, LETTERS, LINES).count("\n") + 2
                              for config in configs), default=1)
    figure = blank(INCHES * (width + SIDE) * max(1, len(splits)),
                   INCHES * (width + head) * max(1, len(configs)) + 0.3)
    if len(measured) > len(configs):
        figure.suptitle(f"the first {len(configs)} of {len(measured)} configurations; all are in "
                        "confusion.csv", fontsize=7, color=INK)
    axis = figure.subplots()
    axis.set_axis_off()
    for row, config in enumerate(configs):
        for column, split in enumerate(splits):
            cell = analysis.cells.get((config.config_id, split))
            if cell is not None:
                _matrix(axis, cell, analysis, column * (width + SIDE), row * (width + head))
    axis.set_xlim(-SIDE, len(splits) * (width + SIDE) - SIDE)
    axis.set_ylim(len(configs) * (width + head) - head + 0.4, -head + 0.2)
    axis.set_aspect("equal")
    axis.set_anchor("N")
    return figure


def _matrix(axis: "Axes", cell: Cell, analysis: Analysis, left: float, top: float) -> None:
    """Draw one matrix at (left, top): percentages of the true class, and counts."""
    counts = cell.confusion.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / counts.sum(1, keepdims=True)
    size = len(counts)
    axis.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1,
                extent=(left, left + size, top + size, top))
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        text = "–" if np.isnan(share) else f"{100 * share:.0f} %\n{int(counts[row, column])}"
        axis.text(left + column + 0.5, top + row + 0.5, text, ha="center", va="center", fontsize=7,
                  color="white" if share > 0.55 else "#1b1f25")
    for place, name in enumerate(analysis.classes):
        axis.text(left - 0.1, top + place + 0.5, name, ha="right", va="center", fontsize=7)
        axis.text(left + place + 0.5, top + size + 0.1, name, ha="center", va="top", fontsize=7)
    title = (f"{fitted(cell.config.label, LETTERS, LINES)}\n{analysis.role(cell.split)}, "
             f"n = {cell.n}, {count(len(cell.seeds), 'seed')}")
    axis.text(left + size / 2, top - 0.1, title, ha="center", va="bottom", fontsize=7, color=INK)
