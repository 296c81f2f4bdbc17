"""How alike configurations answer: a matrix of mean Cohen's kappas."""

from typing import TYPE_CHECKING

import numpy as np

from fer.report.figures.canvas import INK, MUTED, blank, fitted
from fer.report.formatting import count
from fer.report.overall import Agreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 24
SIDE = 0.38  # inches a configuration


def agreement_figure(found: Agreement, split: str, narrow: bool) -> "Figure":
    """Return the matrix, best configuration first; numbers where they are legible."""
    shown = min(MOST_SHOWN, len(found.labels))
    side = 4.3 if narrow else max(4.0, SIDE * shown + 4.0)
    figure = blank(side, side + 0.3 if narrow else max(2.6, SIDE * shown + 1.0))
    figure.set_layout_engine("constrained", w_pad=0.12)  # long names reach the edge
    axis = figure.subplots()
    kappa = found.kappa[:shown, :shown]
    axis.imshow(kappa, cmap="Blues", vmin=0, vmax=1, aspect="auto" if not narrow else "equal")
    axis.set_xticks(range(shown), [str(place + 1) for place in range(shown)], fontsize=7)
    names = [f"{place + 1}" if narrow else f"{fitted(label, 50, 3)}   [{place + 1}]"
             for place, label in enumerate(found.labels[:shown])]
    lines = 1 + max(name.count("\n") for name in names)
    axis.set_yticks(range(shown), names, fontsize=7 if lines < 3 else 6.5)
    axis.tick_params(length=0, colors=MUTED)
    axis.tick_params(axis="y", labelcolor=INK)
    for side_ in axis.spines.values():
        side_.set_visible(False)
    for row, column in np.ndindex(shown, shown):
        value = kappa[row, column]
        axis.text(column, row, _said(value),
                  ha="center", va="center", fontsize=5.5 if shown > 16 else 6.5,
                  color="#fefefe" if value > 0.55 else "#1b1f25")
    more = "" if shown == len(found.labels) else f", the first {shown} of {len(found.labels)}"
    overall = "" if found.overall is None else f"; Fleiss' kappa of all {found.overall:.2f}"
    axis.set_title(f"{split}, n = {found.n:,}, {count(found.runs, 'run')}{overall}{more}",
                   color=INK, fontsize=7.5, loc="left")
    return figure


def _said(kappa: float) -> str:
    """Return `.66`; without a sign where it rounds to nothing."""
    return "–" if np.isnan(kappa) else f"{kappa:.2f}".replace("-0.00", "0.00").replace(
        "-", "−").replace("0.", ".", 1)
