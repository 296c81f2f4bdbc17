"""Learning curves: validation UAR by epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fer.report.configurations import Config
from fer.report.figures.canvas import INK, MUTED, OKABE_ITO, blank, columns_of, cycle, plain
from fer.report.read.run_files import Curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PANELS = 24
STYLES = ("solid", "dashed", "dashdot", "dotted")  # by training set, in addition to colour


def curves_figure(curves: Sequence[Curve], configs: Sequence[Config], sizes: Mapping[str, int],
                  narrow: bool) -> "Figure":
    """Return a figure of validation UAR by epoch.

    There is one panel per backbone and recipe, and one line per run.

    Args:
        sizes: training set -> number of validation images, where known.
    """
    found = list(dict.fromkeys((c.run.backbone, c.run.recipe) for c in curves))
    families = found[:MOST_PANELS]
    trained = list(dict.fromkeys(config.train_on for config in configs))
    colors = dict(zip(trained, cycle(OKABE_ITO), strict=False))
    styles = dict(zip(trained, cycle(STYLES), strict=False))
    columns = min(2 if narrow else 4, len(families))
    lines = -(-len(families) // columns)
    figure = blank(4.3 if narrow else max(4.3, 2.4 * columns + 0.4), 1.9 * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, family in zip(grid, families, strict=False):
        for curve in curves:
            if (curve.run.backbone, curve.run.recipe) == family:
                axis.plot(curve.epochs, curve.val_uar, color=colors[curve.run.train_on],
                          linewidth=1.2, alpha=0.85, linestyle=styles[curve.run.train_on],
                          marker="o" if len(curve.epochs) == 1 else None, markersize=3,
                          label=curve.run.train_on)
                for epoch, old, new in zip(curve.epochs[1:], curve.phases, curve.phases[1:],
                                           strict=False):
                    if old != new:
                        axis.axvline(epoch - 0.5, color=MUTED, linewidth=0.7, linestyle=":")
        axis.set_title("\n".join(family), color=INK, fontsize=8, loc="left")
        plain(axis)
    for axis in grid[len(families):]:
        axis.set_visible(False)
    known = {label: handle for axis in grid for handle, label in
             zip(*axis.get_legend_handles_labels(), strict=True)}
    names = [f"trained on {name}" + (f", n = {sizes[name]:,}" if name in sizes else "")
             for name in known]
    figure.legend(known.values(), names, loc="outside upper left",
                  ncols=columns_of(figure, names), frameon=False, labelcolor=INK, fontsize=8.5)
    left_out = f" (the first {len(families)} of {len(found)} panels)" if families != found else ""
    figure.supxlabel(f"epoch{left_out}", fontsize=8, color=MUTED)
    figure.supylabel("unweighted average recall (UAR)\non validation", fontsize=8, color=MUTED)
    return figure
