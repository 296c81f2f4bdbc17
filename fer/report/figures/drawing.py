"""Figures into files (PNG, SVG) and into the page (inline SVG that follows its theme)."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fer.atomic_io import replacing, write_text
from fer.report.figures.canvas import INK, LINE, MUTED, OKABE_ITO, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)",
         OKABE_ITO[0].lower(): "var(--blue)"}  # too dark on a dark page
DPI = 150
PIXELS_A_POINT = 1.5  # at most, so that letters of all figures are of one size


def svg(figure: "Figure", name: str) -> str:
    """Return `figure` as SVG text, the same each time; `name` keeps its inner names its own."""
    from matplotlib import rc_context

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not again for every file
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # text stays text
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def save(figure: "Figure", folder: Path, name: str) -> str:
    """Publish `figure` as `name.png` and `name.svg` in `folder`; return the SVG text."""
    text = svg(figure, name)
    write_text(folder / f"{name}.svg", text)
    with replacing(folder / f"{name}.png") as temporary, open(temporary, "wb") as stream:
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return text


def inline(text: str, title: str) -> str:
    """Return SVG text as an element of the page: its colours, no fixed size, no stray ids."""
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # only the ids in <defs> are referred to
    width = re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)
    assert width is not None, "matplotlib gives sizes in points"
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', rf'\1 style="max-width: '
                  rf'{PIXELS_A_POINT * float(width[1]):.0f}px"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for color, variable in THEME.items():
        text = text.replace(color, variable)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
