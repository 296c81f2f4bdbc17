"""Pages as single, self-contained HTML files that work offline and can be mailed.

The layout is in the templates and in `page.css`, the text in `fer.report.view_model` and
`fer.search.report.search_page`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer.report.view_model import ViewModel

MOST_NOTES, MOST_ERRORS = 200, 40  # shown on a page; report.md lists all
HERE = Path(__file__).parent


def page(view: ViewModel, drawings: Mapping[str, tuple[str, str]],
         key: Mapping[str, str]) -> str:
    """Return a study's page.

    Args:
        drawings: name of a figure -> its wide and narrow inline SVG.
        key: words that no font of the figures has -> what stands for them.
    """
    return render("page.html", view=view, drawings=drawings, key=key, most_notes=MOST_NOTES,
                  most_errors=MOST_ERRORS)


def render(template: str, **values: Any) -> str:
    """Return a page rendered from a template in this folder."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    return environment.get_template(template).render(
        **values,
        css=(HERE / "page.css").read_text("utf-8"), js=(HERE / "page.js").read_text("utf-8"))
