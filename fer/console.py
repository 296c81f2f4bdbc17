"""The terminal: what a stranger wrote is shown as text, never as markup or escape sequences."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from fer.plain_text import without_controls


class Terminal(Console):
    """A console on which `[bold]` is text, and control characters in texts are visible.

    Styles are given as arguments (`style=`), or with `rich.text.Text`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **settings})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None
               ) -> Iterable[Segment]:
        """Yield the segments of what is printed, with the text of each made safe."""
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                yield segment._replace(text=without_controls(segment.text))
            else:
                yield segment
