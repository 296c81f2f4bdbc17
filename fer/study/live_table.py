"""A live table while a block runs, where there is a terminal to show it."""

import sys
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from typing_extensions import Self  # of the standard library from 3.11 on


class Shown:
    """Use as a context manager; `live` is None where output goes to a log."""

    def __init__(self, console: Console) -> None:
        self.console = console
        terminal = console.is_terminal and sys.stdout.isatty()
        self.live = Live(console=console, auto_refresh=False) if terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.live:
            with suppress(OSError):  # of a terminal that hung up
                self.live.stop()
