"""Figures into files (PNG, SVG) and into the page (inline SVG that follows its theme)."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from fer.publish import replacing
from fer.report.figures import INK, LINE, MUTED, OKABE_ITO, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEME = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)",
         OKABE_ITO[0].lower(): "var(--blue)"}  # too dark on a dark page
DPI = 150


def save(figure: "Figure", folder: Path, name: str) -> None:
    """Publish `figure` as `name.png` and `name.svg` in `folder`; the same bytes each time."""
    with replacing(folder / f"{name}.svg") as temporary:
        temporary.write_text(_svg(figure, name), "utf-8")
    with replacing(folder / f"{name}.png") as temporary, open(temporary, "wb") as stream:
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})


def inline(figure: "Figure", name: str, title: str) -> str:
    """Return `figure` as an `<svg>` element: the page's colours, no fixed size, no stray ids."""
    text = _svg(figure, name)
    text = text[text.index("<svg"):]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # only the ids in <defs> are referred to
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    for color, variable in THEME.items():
        text = text.replace(color, variable)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _svg(figure: "Figure", name: str) -> str:
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # text stays text
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()
