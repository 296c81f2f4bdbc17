"""A progress bar around something that reports (done, all). For the terminal of who started it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]


@contextmanager
def shown(label: str) -> Iterator[Report]:
    """Show a bar on standard error while the block runs, and yield what moves it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    # in a log a bar that goes away is an empty line
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
