"""Pages as one HTML file each: everything inside, so that they work offline and can be mailed.

The looks are in the templates and in `page.css`; the sentences are in `fer.report.view_model` and
`fer.search.report.search_page`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer.report.summary import DRAWINGS
from fer.report.view_model import ViewModel

MOST_NOTES, MOST_ERRORS = 200, 40  # that are read on a page; report.md has all
HERE = Path(__file__).parent


def page(said: ViewModel, drawings: Mapping[str, tuple[str, str]]) -> str:
    """Return a study's page; `drawings` maps a figure's name to its wide and narrow inline SVG."""
    return render("page.html", said=said, drawings=drawings, most_notes=MOST_NOTES,
                  most_errors=MOST_ERRORS)


def render(template: str, **values: Any) -> str:
    """Return a page from a template of this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    return environment.get_template(template).render(
        **values, banner=DRAWINGS,
        css=(HERE / "page.css").read_text("utf-8"), js=(HERE / "page.js").read_text("utf-8"))
