"""A progress bar for work that reports (done, total), on standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int], None]
SECONDS = 0.1  # between two updates, which take longer than copying a small file


@contextmanager
def shown(label: str) -> Iterator[Report]:
    """Show a bar on standard error while the block runs, and yield its update function.

    The function may be called for each of many small steps: it updates the bar ten times a second.
    """
    from rich.progress import Progress

    from fer.console import Terminal

    console = Terminal(stderr=True)
    # in a log file a transient bar leaves an empty line
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar, latest = bars.add_task(label, total=None), 0.0

        def update(done: int, total: int) -> None:
            nonlocal latest
            now = time.monotonic()
            if done >= total or now - latest >= SECONDS:
                latest = now
                bars.update(bar, completed=done, total=total)

        yield update
