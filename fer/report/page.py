"""The report as one HTML file: everything inside, so that it works offline and can be mailed.

The looks are in `page.html` and `page.css`; the sentences are in `fer.report.contents`.
"""

from collections.abc import Mapping
from pathlib import Path

from fer.report.answer import DRAWINGS
from fer.report.contents import Contents
from fer.report.words import points, sizes

HERE = Path(__file__).parent


def page(said: Contents, drawings: Mapping[str, tuple[str, str]]) -> str:
    """Return the page; `drawings` maps a figure's name to its wide and narrow inline SVG."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters.update(points=points, sizes=sizes)
    return environment.get_template("page.html").render(
        said=said, drawings=drawings, banner=DRAWINGS,
        css=(HERE / "page.css").read_text("utf-8"))
