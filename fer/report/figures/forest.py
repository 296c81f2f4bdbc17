"""Every intervention against its baseline: the change in real UAR and in the gap."""

from collections.abc import Sequence
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING

from fer.evaluate.intervals import Interval
from fer.report.analysis import Analysis
from fer.report.comparisons import Family, Pair
from fer.report.figures.canvas import (
    INK,
    MUTED,
    OKABE_ITO,
    ROW,
    blank,
    dots,
    fitted,
    plain,
    say_left_out,
)
from fer.report.formatting import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LETTERS, NARROW_LETTERS = 44, 56  # of a name on one line
LEAST_LETTERS = 20  # of the value, whatever the baseline is called
MOST_SHOWN, MOST_NARROW = 24, 12  # interventions; a figure is at most as tall as a screen or two
MANY, CLOSE = 12, 0.24  # above so many, rows are so many inches apart, with names on one line
LOOKS = {"left": (OKABE_ITO[2], "o", "better than the baseline"),
         "right": (OKABE_ITO[4], "s", "worse than the baseline"),
         "tied": (MUTED, "D", "tied"), "these models": (OKABE_ITO[0], "^", "these models only"),
         "no claim": (MUTED, "v", "no claim")}


def interventions(analysis: Analysis, families: Sequence[Family]) -> list[tuple[Family, Pair]]:
    """Return the planned comparisons with a baseline on each real set, best first.

    Without any real set, on the main test set.
    """
    splits = [pair.real for pair in analysis.pairs if pair.real in analysis.measured_splits()]
    splits = splits or [analysis.main_split()]
    found = [(family, pair) for family in families if family.against is not None
             for pair in family.planned if pair.split in splits]
    return sorted(found, key=lambda one: (splits.index(one[1].split),
                                          -(one[1].difference.value or 0.0)))


def forest_figure(analysis: Analysis, found: Sequence[tuple[Family, Pair]],
                  narrow: bool) -> "Figure":
    """Return the differences to the baseline with simultaneous limits, coloured by verdict."""
    shown, note = _first(found, MOST_NARROW if narrow else MOST_SHOWN)
    gaps = any(pair.gap for _, pair in shown)
    row = ROW * 1.25 if narrow else CLOSE if len(shown) > MANY else ROW
    tall = row * len(shown)
    more = 0.17 * (len({pair.split for _, pair in shown}) - 1)  # lines below an axis
    figure = (blank(4.3, (tall + 1.0 + more) * (1 + gaps) + 0.4) if narrow else
              blank(10.0, tall + 1.15 + more))
    shape = (1 + gaps, 1) if narrow else (1, 1 + gaps)
    axes = list(figure.subplots(*shape, squeeze=False).ravel())
    say_left_out(figure, note)
    for place, axis in enumerate(axes):
        _panel(axis, analysis, shown, place == 1, narrow)
    first = {pair.split: pair for _, pair in reversed(shown)}
    order = [pair for pair in reversed(first.values())]
    axes[0].set_xlabel("\n".join(["change in UAR, points", *(
        f"{analysis.role(pair.split)}, n = {pair.difference.n[0]:,}, "
        f"{count(pair.difference.seeds, 'seed')}" for pair in order)]))
    if gaps:
        net = ", net of control" if any(map(analysis.controlled, analysis.pairs)) else ""
        axes[1].set_xlabel("\n".join([f"change in the gap{net}, points", *(
            f"n = {' and '.join(f'{n:,}' for n in pair.gap.n[:2])}"
            for pair in order if pair.gap)]))
    _key(figure, shown, narrow)
    return figure


def _first(found: Sequence[tuple[Family, Pair]], most: int
           ) -> tuple[list[tuple[Family, Pair]], str]:
    """Return the best interventions on each set, and a note on the others."""
    if len(found) <= most:
        return list(found), ""
    splits = list(dict.fromkeys(pair.split for _, pair in found))
    each = max(1, most // len(splits))
    shown = [one for split in splits
             for one in [one for one in found if one[1].split == split][:each]]
    of_each = f" ({each} on each set)" if len(splits) > 1 else ""
    return shown, (f"the best {len(shown)} of {len(found):,} by the change in UAR{of_each}; "
                   "all are in comparisons.csv")


def _panel(axis: "Axes", analysis: Analysis, shown: Sequence[tuple[Family, Pair]], gap: bool,
           narrow: bool) -> None:
    for row, (_, pair) in enumerate(shown):
        color, marker, label = LOOKS[pair.verdict]
        values: list[Interval | None] = [None] * len(shown)
        values[row] = _in_points(pair.gap_simultaneous if gap else pair.simultaneous)
        dots(axis, values, MUTED if gap else color, "o" if gap else marker, label)
    axis.axvline(0, color=MUTED, linewidth=1)
    axis.set_ylim(len(shown) - 0.4, -0.85 if narrow else -0.6)
    several = len({pair.split for _, pair in shown}) > 1
    rests = [f" vs {pair.right}" + (f" on {pair.split}" if several else "") for _, pair in shown]
    names = [analysis.words(family.over, pair.left) for family, pair in shown]
    if narrow or len(shown) > MANY:  # of a long line, both ends of the value are kept
        width = NARROW_LETTERS if narrow else LETTERS
        names = [fitted(name, max(width - len(rest), LEAST_LETTERS), 1) + rest
                 for name, rest in zip(names, rests, strict=True)]
    else:
        names = ["\n".join([*wrap(name + rest, LETTERS, max_lines=2, placeholder=" …"),
                            pair.among])
                 for name, rest, (_, pair) in zip(names, rests, shown, strict=True)]
    plain(axis)
    axis.set_yticks(range(len(shown)), names if not (narrow or gap) else [""] * len(shown))
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    for row, name in enumerate(names if narrow else ()):
        axis.text(0.0, row - 0.42, name, transform=axis.get_yaxis_transform(),
                  fontsize=8.5, color=INK, va="center")


def _key(figure: "Figure", shown: Sequence[tuple[Family, Pair]], narrow: bool) -> None:
    """Draw a legend of the verdicts that occur."""
    from matplotlib.lines import Line2D

    seen = [LOOKS[name] for name in LOOKS if any(pair.verdict == name for _, pair in shown)]
    figure.legend([Line2D([], [], color=color, marker=marker, linestyle="none")
                   for color, marker, _ in seen], [label for *_, label in seen],
                  loc="outside upper left", ncols=2 if narrow else len(seen), frameon=False,
                  labelcolor=INK, fontsize=8.5)


def _in_points(one: Interval | None) -> Interval | None:
    if one is None or one.value is None:
        return None
    low, high = (None if limit is None else 100 * limit for limit in (one.low, one.high))
    return replace(one, value=100 * one.value, low=low, high=high)
