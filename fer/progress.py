"""A progress bar for work that reports (done, total), on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]


@contextmanager
def shown(label: str) -> Iterator[Report]:
    """Show a bar on standard error while the block runs, and yield its update function."""
    from rich.progress import Progress

    from fer.console import Terminal

    console = Terminal(stderr=True)
    # in a log file a transient bar leaves an empty line
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
