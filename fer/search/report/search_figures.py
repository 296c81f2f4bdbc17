"""Figures of a search: parallel coordinates, learning curves, importance of each key."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fer.config.search import Domain, Search
from fer.report.figures.canvas import INK, LINE, MUTED, OKABE_ITO, blank, plain
from fer.search.report.importance import ABSENT, Importances, places
from fer.search.trial_record import Entry, best_first
from fer.search.trial_runs import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST = OKABE_ITO[4]
SPREAD = 0.03  # offset between lines through the same choice


def coordinates_figure(search: Search, entries: Sequence[Entry], best: int, narrow: bool
                       ) -> "Figure":
    """Return parallel coordinates: one line per trial, darker for better scores."""
    order = best_first(list(entries), search.higher_is_better)[::-1]
    values = places(search, order)
    rng = np.random.default_rng(0)
    keys = list(search.space)
    for column, domain in enumerate(search.space.values()):
        if domain.choice is not None:
            values[:, column] += rng.uniform(-SPREAD, SPREAD, len(order))
    figure = blank(4.3 if narrow else 10.0, 3.2)
    axis = figure.subplots()
    ends = range(len(keys))
    for rank, (line, entry) in enumerate(zip(values, order, strict=True)):
        better = (rank + 1) / len(order)
        axis.plot(ends, line, color=OKABE_ITO[0], alpha=0.08 + 0.55 * better**2, linewidth=1.1,
                  solid_joinstyle="round")
        if entry.number == best:
            axis.plot(ends, line, color=BEST, linewidth=2.4, zorder=4, label=(
                f"trial {best}, the best of {len(order)}"))
    for end, domain in zip(ends, search.space.values(), strict=True):
        axis.axvline(end, color=LINE, linewidth=1.0, zorder=0)
        for height, label in _marks(domain):
            axis.text(end, height, f" {label}", color=MUTED, fontsize=7.5, va="center")
        if domain.when:
            axis.text(end, ABSENT, " none", color=MUTED, fontsize=7.5, va="center")
    axis.set_xlim(-0.15, len(keys) - 1 + (0.55 if narrow else 0.3))
    axis.set_xticks(ends, [key.replace(".", ".\n") if narrow else key for key in keys])
    axis.set_yticks([])
    plain(axis)
    axis.grid(False)
    axis.tick_params(axis="x", labelcolor=INK, labelsize=7.5 if narrow else 8.5)
    figure.legend(loc="outside upper left", frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


def _marks(domain: Domain) -> list[tuple[float, str]]:
    """Return the tick positions and labels of an axis."""
    if domain.choice is not None:
        return [(index / max(1, len(domain.choice) - 1), shown(value))
                for index, value in enumerate(domain.choice)]
    assert domain.range is not None
    return [(0.0, shown(domain.range[0])), (1.0, shown(domain.range[1]))]


def curves_figure(search: Search, entries: Sequence[Entry], best: int, narrow: bool) -> "Figure":
    """Return each trial's score by epoch, with a dot where it was stopped."""
    from matplotlib.ticker import MaxNLocator

    figure = blank(4.3 if narrow else 7.0, 3.2)
    axis = figure.subplots()
    ranked = best_first(list(entries), search.higher_is_better)
    for entry in reversed(ranked):
        first = entry.number == best
        epochs = range(1, len(entry.curve) + 1)
        axis.plot(epochs, entry.curve, color=BEST if first else OKABE_ITO[0],
                  linewidth=2.2 if first else 1.0, alpha=1.0 if first else 0.5,
                  label=f"trial {entry.number}, the best" if first else None,
                  zorder=3 if first else 2)
        if entry.state == "stopped":
            axis.plot(epochs[-1:], entry.curve[-1:], "o", color=OKABE_ITO[0], markersize=3.5)
    axis.plot([], [], "o", color=OKABE_ITO[0], markersize=3.5, label="stopped early")
    plain(axis)
    axis.set_xlabel("epochs trained")
    axis.set_ylabel(f"{search.metric} on validation", color=MUTED, fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", frameon=False, labelcolor=INK, fontsize=8.5, ncols=2)
    return figure


def importance_figure(found: Importances, narrow: bool) -> "Figure":
    """Return a bar chart of the importance of each key, with its standard deviation."""
    figure = blank(4.3 if narrow else 7.0, 0.34 * len(found.keys) + 0.7)
    axis = figure.subplots()
    rows = range(len(found.keys))
    axis.barh(rows, [one.mean for one in found.keys], color=OKABE_ITO[0], height=0.55,
              xerr=[one.deviation for one in found.keys], ecolor=MUTED)
    axis.set_yticks(rows, [one.key for one in found.keys])
    axis.invert_yaxis()
    plain(axis)
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", labelcolor=INK)
    axis.set_xlabel(f"R² lost when the key is shuffled, n = {found.n} trials")
    return figure
