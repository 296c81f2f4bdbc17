"""Effective robustness: real against synthetic masks on probit axes, with a fitted line."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fer.errors import noun_for
from fer.evaluate.effective_robustness import probit
from fer.report.analysis import Analysis
from fer.report.figures.canvas import INK, MARKERS, MUTED, OKABE_ITO, blank, cycle, plain
from fer.report.formatting import count
from fer.report.overall import Overall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
ROOM = 0.35  # margin around the points, in probits


def robustness_figure(analysis: Analysis, over: Overall, narrow: bool) -> "Figure":
    """Return a scatter plot: one point per configuration, coloured by training set."""
    gap = analysis.gap
    assert over.robustness is not None and gap is not None
    line = over.robustness.line
    figure = blank(4.3, 4.9) if narrow else blank(7.2, 5.0)
    axis = figure.subplots()
    trained = list(dict.fromkeys(config.train_on for config in analysis.configs))
    looks = dict(zip(trained, zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False), strict=False))
    values: list[tuple[float, float]] = []
    sizes: list[tuple[int, int, int]] = []
    for config in analysis.configs:
        if config.config_id not in over.robustness.above:
            continue
        one, two = (analysis.cells[config.config_id, split].metrics["uar"]
                    for split in (gap.synthetic, gap.real))
        assert one.value is not None and two.value is not None
        color, marker = looks[config.train_on]
        for x, y in (((one.low, one.high), (two.value, two.value)),
                     ((one.value, one.value), (two.low, two.high))):
            if None not in (*x, *y):
                axis.plot(probit(np.array(x, float)), probit(np.array(y, float)), color=color,
                          linewidth=1.4, alpha=0.45, zorder=2)
        hollow = over.robustness.above[config.config_id].baseline
        axis.plot(probit(np.array([one.value])), probit(np.array([two.value])), marker,
                  color=color, markersize=7.5, markeredgewidth=0.8 + hollow,
                  markeredgecolor=color if hollow else "#ffffff",
                  markerfacecolor="#ffffff" if hollow else color,
                  linestyle="none", zorder=3, label=f"trained on {config.train_on}")
        values.append((one.value, two.value))
        sizes.append((one.n[0], two.n[0], one.seeds))
    _limits(axis, values)
    ends: NDArray[np.float64] = np.array(axis.get_xlim())
    axis.plot(ends, line.intercept + line.slope * ends, color=INK, linewidth=1.2, zorder=1,
              label=f"line over {count(line.configs, 'baseline')}")
    axis.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=":", zorder=1, label="no gap")
    seeds = sorted({size[2] for size in sizes})
    axis.set_xlabel(f"UAR on {analysis.role(gap.synthetic)}, n = {sizes[0][0]:,}")
    axis.set_ylabel(f"UAR on {analysis.role(gap.real)}, n = {sizes[0][1]:,}", color=MUTED,
                    fontsize=8)
    axis.set_title(f"unweighted average recall (UAR), probit axes,\nmean over {seeds[0]}" + (
        f"–{seeds[-1]}" if len(seeds) > 1 else "") + f" {noun_for(seeds[-1], 'seed')}",
        color=MUTED, fontsize=8, loc="left")
    handles, labels = axis.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    figure.legend(known.values(), known.keys(), loc="outside upper left",
                  ncols=2 if narrow else 3, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


def _limits(axis: "Axes", values: list[tuple[float, float]]) -> None:
    """Set axis limits around the points and ticks at round scores."""
    plain(axis)
    points = probit(np.array(values))
    for place, line in enumerate((axis.xaxis, axis.yaxis)):
        low, high = (float(end) for end in (points[:, place].min() - ROOM,
                                            points[:, place].max() + ROOM))
        ticks = [tick for tick in TICKS if low < float(probit(np.array(tick))) < high]
        line.set_ticks([float(probit(np.array(tick))) for tick in ticks],
                       labels=[f"{tick:g}" for tick in ticks])
        (axis.set_ylim if place else axis.set_xlim)(low, high)
