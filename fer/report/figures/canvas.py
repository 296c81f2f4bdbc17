"""Shared parts of all figures: colours, markers, rows of dots with intervals, and saving.

Every figure states n and seeds. Seven colours (Okabe and Ito's) and six marker shapes give 42
distinct pairs. `inline` replaces the neutral colours below by variables of the page, so that
figures follow its light and dark theme.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from fer.atomic_io import replacing, write_text
from fer.evaluate.intervals import Interval
from fer.legible import Key, make_legible
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.formatting import count

if TYPE_CHECKING:  # matplotlib takes half a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1b1f24", "#5f6b7a", "#d5dae1", "#ffffff"
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
MARKERS = "osDv^P"
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)",
         OKABE_ITO[0].lower(): "var(--blue)"}  # too dark on a dark page
DPI = 150
PIXELS_A_POINT = 1.5  # maximum scale, so that all figures have one font size
LETTER = 0.066  # inches, of a legend
ROW = 0.46  # inches per configuration
MOST_SHOWN = 40  # configurations in a figure with one row for each


def blank(width: float, height: float) -> "Figure":
    """Return an empty figure; width and height in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)


def panels(rows: int, narrow: bool, panels: int,
            ratios: tuple[int, ...]) -> tuple["Figure", list["Axes"]]:
    """Return a figure with panels side by side, or stacked if narrow."""
    if narrow:
        figure = blank(4.3, 0.9 + (1.35 * ROW * rows + 0.6) * max(1, panels))
        return figure, list(figure.subplots(max(1, panels), 1, squeeze=False).ravel())
    figure = blank(10.0, ROW * rows + 1.1)
    return figure, list(figure.subplots(
        1, max(1, panels), squeeze=False, width_ratios=ratios[:max(1, panels)]).ravel())


def shown_rows(analysis: Analysis) -> tuple[list[Config], str]:
    """Return the configurations that a figure shows, and a note on the others.

    Above `MOST_SHOWN`, the best ones on the main test set are shown.
    """
    measured = [config for config in analysis.configs
             if any((config.config_id, split) in analysis.cells for split in analysis.splits)]
    if len(measured) <= MOST_SHOWN:
        return measured, ""
    best = sorted(measured, key=analysis.main_score, reverse=True)[:MOST_SHOWN]
    return best, (f"the {MOST_SHOWN} of {len(measured):,} configurations with the highest UAR on "
                  f"{analysis.main_split()}; all are in summary.csv")


def say_left_out(figure: "Figure", note: str) -> None:
    """Note below a figure which configurations it shows, if not all; wrapped to its width."""
    if note:
        figure.supxlabel(fill(note, int(figure.get_figwidth() / LETTER)), fontsize=8, color=MUTED)


def fitted(label: str, width: int, lines: int) -> str:
    """Return a label wrapped between its parts into at most `lines` lines of `width` characters."""
    found = [""]
    for part in label.split(" · "):
        joined = f"{found[-1]} · {part}" if found[-1] else part
        if len(joined) <= width or not found[-1]:
            found[-1] = joined
        else:
            found.append(part)
    if len(found) > lines:
        found = [*found[: lines - 1], " · ".join(found[lines - 1:])]
    return "\n".join(_cut(line, width) for line in found)


def _cut(line: str, width: int) -> str:
    """Shorten the middle of a long line, because names differ at their ends."""
    if len(line) <= width:
        return line
    head = width // 2 - 1
    return f"{line[:head]}…{line[len(line) - (width - head - 1):]}"


def dots(axis: "Axes", values: Sequence[Interval | None], color: str, marker: str,
          label: str, shift: float = 0.0) -> None:
    """Draw one value per row, from the top, with its interval."""
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


def name_rows(axis: "Axes", configs: Sequence[Config], narrow: bool, names: bool = True) -> None:
    """Label the rows with their configurations; above the marks if narrow."""
    axis.set_ylim(len(configs) - 0.4, -0.8 if narrow else -0.6)
    labels = [fitted(config.label, 46, 3) if names else "" for config in configs]
    axis.set_yticks(range(len(configs)), labels)
    plain(axis)
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    if narrow:
        axis.tick_params(axis="y", labelleft=False)
        for row, config in enumerate(configs):
            axis.text(0.0, row - 0.42, fitted(config.label, 56, 1),
                      transform=axis.get_yaxis_transform(), fontsize=8.5, color=INK, va="center",
                      zorder=5, bbox={"facecolor": axis.figure.get_facecolor(), "pad": 0.5,
                                      "edgecolor": "none"})


def plain(axis: "Axes") -> None:
    """Reduce an axis to a grid and muted labels."""
    axis.grid(True, axis="both", color=LINE, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_facecolor("none")
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(colors=MUTED, labelsize=8, length=0)
    axis.xaxis.label.set(color=MUTED, fontsize=8)


def mark_chance(axis: "Axes", analysis: Analysis) -> None:
    """Mark the UAR of a constant prediction."""
    if analysis.classes:
        chance = 1 / len(analysis.classes)
        axis.axvline(chance, color=MUTED, linewidth=0.9, linestyle=":")
        axis.text(chance, 0.0, f" chance, 1/{len(analysis.classes)}", color=MUTED, fontsize=7.5,
                  transform=axis.get_xaxis_transform(), va="bottom")


def key_above(figure: "Figure", axis: "Axes", narrow: bool) -> None:
    """Draw the legend of `axis` above all panels."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left",
                  ncols=1 if narrow else columns_of(figure, labels), frameon=False,
                  labelcolor=INK, fontsize=8.5, handletextpad=0.4, columnspacing=1.6)


def columns_of(figure: "Figure", labels: Sequence[str]) -> int:
    """Return the columns of a legend, at most four, so that it is not wider than its figure."""
    wide = LETTER * max(map(len, labels), default=1) + 0.5
    return max(1, min(4, int(figure.get_figwidth() // wide)))


def legend_of(analysis: Analysis, split: str) -> str:
    """Return the legend entry of a test set: its role, n and seeds."""
    cells = [cell for (_, name), cell in analysis.cells.items() if name == split]
    seeds = sorted({len(cell.seeds) for cell in cells})
    text = count(seeds[0], "seed") if len(seeds) == 1 else f"{seeds[0]}–{seeds[-1]} seeds"
    return f"{analysis.role(split)}, n = {cells[0].n:,}, {text}"


def paired(analysis: Analysis) -> list[str]:
    """Return the synthetic and real sets if the study has a gap, else every test set."""
    splits = analysis.measured_splits()
    if analysis.gap is None:
        return splits
    names = [analysis.gap.synthetic, *(pair.real for pair in analysis.pairs)]
    return [split for split in names if split in splits]


def cycle(values: Sequence[str]) -> Sequence[str]:
    """Return the values repeated, for more series than colours."""
    return [*values] * 20


def svg(figure: "Figure", name: str, key: Key | None = None) -> str:
    """Return `figure` as deterministic SVG text; `name` makes its ids unique.

    Args:
        key: is extended by words that no font has, and what stands for them.
    """
    from matplotlib import rc_context

    make_legible(figure, {} if key is None else key)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # avoid another layout for every file
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # text stays text
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def save(figure: "Figure", folder: Path, name: str, key: Key | None = None) -> str:
    """Publish `figure` as `name.png` and `name.svg` in `folder`; return the SVG text."""
    text = svg(figure, name, key)
    write_text(folder / f"{name}.svg", text)
    with replacing(folder / f"{name}.png") as temporary, open(temporary, "wb") as stream:
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return text


def inline(text: str, title: str) -> str:
    """Return SVG text as a page element: theme colours, no fixed size, no stray ids."""
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # only the ids in <defs> are referenced
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)
    assert width is not None, "matplotlib gives sizes in points"
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 style="max-width: '
                  rf'{PIXELS_A_POINT * float(width[1]):.0f}px"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for color, variable in THEME.items():
        text = text.replace(color, variable)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
