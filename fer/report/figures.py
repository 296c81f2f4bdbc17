"""The figures of a study, drawn with matplotlib: what they show, not where they go.

Every figure says n and seeds in its title. Colours are Okabe and Ito's, told apart by marker
shapes too. Neutral ink is drawn in the three constants below, which `fer.report.drawing`
replaces by the page's own colours so that the figures follow its light and dark theme.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fer.evaluate.interval import Interval
from fer.report.analyse import Analysis, Cell, Config
from fer.report.curves import Curve
from fer.report.words import count

if TYPE_CHECKING:  # matplotlib takes half a second: only those who draw pay for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1b1f24", "#5f6b7a", "#d5dae1", "#ffffff"
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
MARKERS = "osDv^PX"
CLASS_COLORS, CLASS_MARKERS = (*OKABE_ITO[3:], *OKABE_ITO[:3]), "v^PXosD"  # not those of the sets
ROW = 0.46  # inches a configuration
SPREAD = 0.19  # rows between two test sets or classes of one configuration
CONFUSIONS_SHOWN = 12


def gap_figure(analysis: Analysis, narrow: bool) -> "Figure":
    """Return UAR of each configuration on each test set, and its gap, with intervals."""
    configs = [c for c in analysis.configs if any(k[0] == c.config_id for k in analysis.cells)]
    splits = analysis.measured_splits()
    figure, axes = _panels(len(configs), narrow, 2 if analysis.gaps else 1, (3, 2))
    for split, color, marker in zip(splits, _cycle(OKABE_ITO), _cycle(MARKERS), strict=False):
        cells = [analysis.cells.get((config.config_id, split)) for config in configs]
        _dots(axes[0], [cell.metrics["uar"] if cell else None for cell in cells], color, marker,
              _legend(analysis, split))
    _connect(axes[0], analysis, configs)
    _rows(axes[0], configs, narrow)
    axes[0].set_xlabel("UAR (mean over seeds, 95 % interval)")
    _chance(axes[0], analysis)
    _key(figure, axes[0], narrow)
    if analysis.gaps:
        gaps = [analysis.gaps.get(config.config_id, {}).get("uar") for config in configs]
        _dots(axes[1], [_in_points(one) for one in gaps], INK, "o", "gap")
        axes[1].axvline(0, color=MUTED, linewidth=1)
        _rows(axes[1], configs, narrow, names=narrow)
        axes[1].set_xlabel("gap: synthetic − real (points of UAR)")
    return figure


def recall_figure(analysis: Analysis, narrow: bool) -> "Figure":
    """Return recall per class of each configuration, one panel a test set."""
    configs = [c for c in analysis.configs if any(k[0] == c.config_id for k in analysis.cells)]
    splits = _paired(analysis)
    figure, axes = _panels(len(configs), narrow, len(splits), (1,) * len(splits))
    middle = (len(analysis.classes) - 1) / 2
    for index, (split, axis) in enumerate(zip(splits, axes, strict=True)):
        for place, (name, color, marker) in enumerate(zip(
                analysis.classes, _cycle(CLASS_COLORS), _cycle(CLASS_MARKERS), strict=False)):
            cells = [analysis.cells.get((config.config_id, split)) for config in configs]
            _dots(axis, [cell.metrics[f"recall:{name}"] if cell else None for cell in cells],
                  color, marker, name, shift=SPREAD * (place - middle))
        _rows(axis, configs, narrow, names=narrow or index == 0)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xlabel("recall (95 % interval)")
        axis.set_title(_legend(analysis, split), color=INK, fontsize=8, loc="left")
    if splits:
        _key(figure, axes[0], narrow)
    return figure


def confusion_figure(analysis: Analysis) -> "Figure":
    """Return confusion matrices, one row a configuration, one column a test set."""
    splits = _paired(analysis)
    there = [c for c in analysis.configs
             if any((c.config_id, s) in analysis.cells for s in splits)]
    configs = there[:CONFUSIONS_SHOWN]
    figure = _figure(2.7 * max(1, len(splits)), 2.5 * max(1, len(configs)))
    if len(there) > len(configs):
        figure.suptitle(f"the first {len(configs)} of {len(there)} configurations; all are on "
                        "the page", fontsize=7, color=INK)
    grid = figure.subplots(max(1, len(configs)), max(1, len(splits)), squeeze=False)
    for row, config in zip(grid, configs, strict=False):
        for axis, split in zip(row, splits, strict=True):
            cell = analysis.cells.get((config.config_id, split))
            axis.set_axis_off() if cell is None else _matrix(axis, cell, analysis)
    return figure


def curves_figure(curves: Sequence[Curve], configs: Sequence[Config],
                  narrow: bool) -> "Figure":
    """Return validation UAR by epoch: one panel a backbone and recipe, one line a run."""
    families = list(dict.fromkeys((c.run.backbone, c.run.recipe) for c in curves))
    trained = list(dict.fromkeys(config.train_on for config in configs))
    colors = dict(zip(trained, _cycle(OKABE_ITO), strict=False))
    columns = min(2 if narrow else 4, len(families))
    lines = -(-len(families) // columns)
    figure = _figure(4.3 if narrow else 2.4 * columns + 0.4, 1.9 * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, family in zip(grid, families, strict=False):
        for curve in curves:
            if (curve.run.backbone, curve.run.recipe) == family:
                axis.plot(curve.epochs, curve.val_uar, color=colors[curve.run.train_on],
                          linewidth=1.2, alpha=0.85, label=curve.run.train_on)
                for epoch, old, new in zip(curve.epochs[1:], curve.phases, curve.phases[1:],
                                           strict=False):
                    if old != new:
                        axis.axvline(epoch - 0.5, color=MUTED, linewidth=0.7, linestyle=":")
        axis.set_title("\n".join(family), color=INK, fontsize=8, loc="left")
        _plain(axis)
    for axis in grid[len(families):]:
        axis.set_visible(False)
    known = {label: handle for axis in grid for handle, label in
             zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), [f"trained on {name}" for name in known],
                  loc="outside upper left", ncols=2 if narrow else 4, frameon=False,
                  labelcolor=INK, fontsize=8.5)
    figure.supxlabel("epoch", fontsize=8, color=MUTED)
    figure.supylabel("validation UAR", fontsize=8, color=MUTED)
    return figure


def _paired(analysis: Analysis) -> list[str]:
    """Return synthetic and real where the study has a gap, else every test set."""
    splits = analysis.measured_splits()
    if analysis.gap is None:
        return splits
    return [split for split in (analysis.gap.synthetic, analysis.gap.real) if split in splits]


def _legend(analysis: Analysis, split: str) -> str:
    """Return the test set with its role, n and seeds."""
    cells = [cell for (_, name), cell in analysis.cells.items() if name == split]
    seeds = sorted({len(cell.seeds) for cell in cells})
    text = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]} seeds"
    return f"{analysis.role(split)}, n = {cells[0].n:,}, {text}"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def _panels(rows: int, narrow: bool, panels: int,
            ratios: tuple[int, ...]) -> tuple["Figure", list["Axes"]]:
    """Return a figure with panels side by side, or below each other where it is narrow."""
    if narrow:
        figure = _figure(4.3, 0.9 + (1.35 * ROW * rows + 0.6) * max(1, panels))
        return figure, list(figure.subplots(max(1, panels), 1, squeeze=False).ravel())
    figure = _figure(10.0, ROW * rows + 1.1)
    return figure, list(figure.subplots(
        1, max(1, panels), squeeze=False, width_ratios=ratios[:max(1, panels)]).ravel())


def _dots(axis: "Axes", values: Sequence[Interval | None], color: str, marker: str,
          label: str, shift: float = 0.0) -> None:
    """Draw one value a row, from the top, with its interval."""
    drawn = False
    for index, one in enumerate(values):
        if one is None or one.value is None:
            continue
        row = index + shift
        if one.low is not None and one.high is not None:
            axis.plot([one.low, one.high], [row, row], color=color, linewidth=2.2, alpha=0.55,
                      solid_capstyle="round", zorder=2)
        axis.plot([one.value], [row], marker, color=color, markersize=6.5, markeredgecolor=PAPER,
                  markeredgewidth=0.8, zorder=3, linestyle="none",
                  label=None if drawn else label)
        drawn = True


def _connect(axis: "Axes", analysis: Analysis, configs: Sequence[Config]) -> None:
    """Draw a thin line between synthetic and real of one configuration: the gap."""
    if analysis.gap is None:
        return
    for row, config in enumerate(configs):
        ends = [analysis.cells.get((config.config_id, split))
                for split in (analysis.gap.synthetic, analysis.gap.real)]
        values = [cell.metrics["uar"].value for cell in ends if cell is not None]
        if len(values) == 2 and None not in values:
            axis.plot(values, [row, row], color=MUTED, linewidth=0.9,  # type: ignore[arg-type]
                      linestyle=(0, (2, 2)), zorder=1)


def _rows(axis: "Axes", configs: Sequence[Config], narrow: bool, names: bool = True) -> None:
    """Label the rows with their configurations; above the marks where it is narrow."""
    axis.set_ylim(len(configs) - 0.4, -0.8 if narrow else -0.6)
    labels = [config.label if names else "" for config in configs]
    axis.set_yticks(range(len(configs)), labels)
    _plain(axis)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    if narrow:
        axis.tick_params(axis="y", labelleft=False)
        for row, config in enumerate(configs):
            axis.text(0.0, row - 0.42, config.label, transform=axis.get_yaxis_transform(),
                      fontsize=8.5, color=INK, va="center", zorder=5)


def _plain(axis: "Axes") -> None:
    axis.grid(True, axis="both", color=LINE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_facecolor("none")
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(colors=MUTED, labelsize=8, length=0)
    axis.xaxis.label.set(color=MUTED, fontsize=8)


def _chance(axis: "Axes", analysis: Analysis) -> None:
    """Mark the UAR of a constant answer."""
    if analysis.classes:
        chance = 1 / len(analysis.classes)
        axis.axvline(chance, color=MUTED, linewidth=0.9, linestyle=":")
        axis.text(chance, 0.0, f" chance, 1/{len(analysis.classes)}", color=MUTED, fontsize=7.5,
                  transform=axis.get_xaxis_transform(), va="bottom")


def _key(figure: "Figure", axis: "Axes", narrow: bool) -> None:
    """Draw the legend of `axis` above all panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=1 if narrow else 4,
                  frameon=False, labelcolor=INK, fontsize=8.5, handletextpad=0.4,
                  columnspacing=1.6)


def _matrix(axis: "Axes", cell: Cell, analysis: Analysis) -> None:
    """Draw one confusion matrix: shares of the true class, with counts."""
    counts = cell.confusion.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = counts / counts.sum(1, keepdims=True)
    axis.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        text = "–" if np.isnan(share) else f"{100 * share:.0f} %\n{int(counts[row, column])}"
        axis.text(column, row, text, ha="center", va="center", fontsize=7,
                  color="white" if share > 0.55 else "#1b1f25")
    names = range(len(analysis.classes))
    axis.set_xticks(names, analysis.classes, fontsize=7)
    axis.set_yticks(names, analysis.classes, fontsize=7)
    axis.set_xlabel("predicted", fontsize=7)
    axis.set_ylabel("true", fontsize=7)
    axis.set_title(f"{cell.config.label}\n{analysis.role(cell.split)}, n = {cell.n}, "
                   f"{count(len(cell.seeds), 'seed')}", fontsize=7, color=INK)


def _in_points(one: Interval | None) -> Interval | None:
    from dataclasses import replace

    if one is None or one.value is None:
        return None
    low, high = (None if limit is None else 100 * limit for limit in (one.low, one.high))
    return replace(one, value=100 * one.value, low=low, high=high)


def _cycle(values: Sequence[str]) -> Sequence[str]:
    return [*values] * 20
