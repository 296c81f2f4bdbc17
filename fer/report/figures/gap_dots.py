"""UAR, gap and recall of each configuration, as dots with intervals."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fer.evaluate.intervals import Interval
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.figures.canvas import (
    INK,
    MARKERS,
    MUTED,
    OKABE_ITO,
    cycle,
    dots,
    key_above,
    legend_of,
    mark_chance,
    name_rows,
    paired,
    panels,
    say_left_out,
    shown_rows,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASS_COLORS, CLASS_MARKERS = (*OKABE_ITO[3:], *OKABE_ITO[:3]), "v^Pos"  # not those of the sets
SPREAD = 0.19  # rows between two test sets or classes of one configuration


def gap_figure(analysis: Analysis, narrow: bool) -> "Figure":
    """Return a figure of each configuration's UAR on each test set and its gap."""
    configs, note = shown_rows(analysis)
    splits = analysis.measured_splits()
    figure, axes = panels(len(configs), narrow, 2 if analysis.gaps else 1, (3, 2))
    say_left_out(figure, note)
    for split, color, marker in zip(splits, cycle(OKABE_ITO), cycle(MARKERS), strict=False):
        cells = [analysis.cells.get((config.config_id, split)) for config in configs]
        dots(axes[0], [cell.metrics["uar"] if cell else None for cell in cells], color, marker,
              legend_of(analysis, split))
    _connect(axes[0], analysis, configs)
    name_rows(axes[0], configs, narrow)
    axes[0].set_xlabel("unweighted average recall (UAR)\nmean over seeds, 95 % interval")
    mark_chance(axes[0], analysis)
    key_above(figure, axes[0], narrow)
    if analysis.gaps:
        shown = [pair for pair in analysis.pairs if analysis.gaps_on[pair.real]]
        for place, pair in enumerate(shown):
            gaps = [analysis.gap_of(config.config_id, pair) for config in configs]
            place_of = analysis.measured_splits().index(pair.real)
            color, marker = ((INK, "o") if len(shown) == 1 else
                             (cycle(OKABE_ITO)[place_of], cycle(MARKERS)[place_of]))
            dots(axes[1], [_in_points(one) for one in gaps], color, marker, "gap",
                 shift=SPREAD * (place - (len(shown) - 1) / 2))
        axes[1].axvline(0, color=MUTED, linewidth=1)
        name_rows(axes[1], configs, narrow, names=narrow)
        net = ", net of control" if analysis.controlled(analysis.gap) else ""
        axes[1].set_xlabel(f"gap: synthetic − real (points of UAR{net})"
                           + ("\none colour and sign a real set" if len(shown) > 1 else ""))
    return figure


def recall_figure(analysis: Analysis, narrow: bool) -> "Figure":
    """Return a figure of each configuration's recall per class, one panel per test set."""
    configs, note = shown_rows(analysis)
    splits = paired(analysis)
    figure, axes = panels(len(configs), narrow, len(splits), (1,) * len(splits))
    say_left_out(figure, note)
    middle = (len(analysis.classes) - 1) / 2
    for index, (split, axis) in enumerate(zip(splits, axes, strict=True)):
        for place, (name, color, marker) in enumerate(zip(
                analysis.classes, cycle(CLASS_COLORS), cycle(CLASS_MARKERS), strict=False)):
            cells = [analysis.cells.get((config.config_id, split)) for config in configs]
            dots(axis, [cell.metrics[f"recall:{name}"] if cell else None for cell in cells],
                  color, marker, name, shift=SPREAD * (place - middle))
        name_rows(axis, configs, narrow, names=narrow or index == 0)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xlabel("recall (95 % interval)")
        axis.set_title(legend_of(analysis, split), color=INK, fontsize=8, loc="left")
    if splits:
        key_above(figure, axes[0], narrow)
    return figure


def _connect(axis: "Axes", analysis: Analysis, configs: Sequence[Config]) -> None:
    """Draw the gap as a thin line between synthetic and real scores of each configuration."""
    if analysis.gap is None:
        return
    for row, config in enumerate(configs):
        ends = [analysis.cells.get((config.config_id, split))
                for split in (analysis.gap.synthetic, analysis.gap.real)]
        values = [cell.metrics["uar"].value for cell in ends if cell is not None]
        if len(values) == 2 and None not in values:
            axis.plot(values, [row, row], color=MUTED, linewidth=0.9,  # type: ignore[arg-type]
                      linestyle=(0, (2, 2)), zorder=1)


def _in_points(one: Interval | None) -> Interval | None:
    if one is None or one.value is None:
        return None
    low, high = (None if limit is None else 100 * limit for limit in (one.low, one.high))
    return replace(one, value=100 * one.value, low=low, high=high)
