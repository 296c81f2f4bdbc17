"""Progress of a study: a live table in a terminal, lines in a log."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from typing_extensions import Self  # of the standard library from 3.11 on

from fer.console import Terminal
from fer.study.plan import UNFINISHED, Action, Step
from fer.study.run_folder import Store
from fer.study.run_records import Status

REFRESH_SECONDS = 0.5
MOST_ROWS = 12


class LiveTable:
    """Context manager of a live table; `live` is None if output goes to a log."""

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
            with suppress(OSError):  # the terminal hung up
                self.live.stop()


class StudyProgress(LiveTable):
    """Live view of a plan; use as a context manager."""

    def __init__(self, store: Store, console: Console | None = None) -> None:
        self.store = store
        super().__init__(console or Terminal())
        self._last_shown = 0.0
        self._shown: dict[str, Action] = {}
        self._begun = time.monotonic()

    def show(self, steps: Sequence[Step]) -> None:
        """Show a plan: at most twice a second in a terminal, only changes in a log."""
        if self.live:
            now = time.monotonic()
            if now - self._last_shown > REFRESH_SECONDS or not _unfinished(steps):
                self._last_shown = now
                self.live.update(self._table(steps), refresh=True)
            return
        for step in steps:
            before = self._shown.get(step.run.id)
            self._shown[step.run.id] = step.action
            if before not in (None, step.action) and step.action in ("done", "failed", "blocked"):
                self._print_line(step, steps)

    def _print_line(self, step: Step, steps: Sequence[Step]) -> None:
        status = self.store.folder(step.run).status()
        finished = len(steps) - _unfinished(steps)
        metric = f"  val {status.metric:.3f}" if status.metric is not None else ""
        error = f"  {status.error}" if step.action == "failed" else ""
        seconds = time.monotonic() - self._begun
        self.console.print(f"[{finished:3}/{len(steps)}] {seconds:4.0f} s  {step.action:7} "
                           f"{step.run.name}{metric}{error}",
                           markup=False, highlight=False, soft_wrap=True)

    def _table(self, steps: Sequence[Step]) -> Table:
        counts = Counter(step.action for step in steps)
        listed = ", ".join(f"{count} {action}" for action, count in counts.items())
        seconds = time.monotonic() - self._begun
        table = Table(title=f"{listed} · {seconds:.0f} s", box=None, title_justify="left",
                      pad_edge=False, expand=False)
        for column in ("run", "phase", "epoch", "step", "val"):
            table.add_column(column, overflow="ellipsis", no_wrap=column != "run",
                             justify="left" if column in ("run", "phase") else "right")
        active = [step for step in steps if step.action in ("running", "failed")]
        for step in active[:MOST_ROWS]:
            table.add_row(step.run.name, *status_cells(self.store.folder(step.run).status()))
        return table


def status_cells(status: Status) -> tuple[str, str, str, str]:
    """Return phase, epoch, step and metric of a status as table cells."""
    if status.state == "failed":
        return "failed", "", "", ""
    metric = f"{status.metric:.3f}" if status.metric is not None else ""
    return (status.phase, f"{status.epoch}/{status.epochs}", f"{status.step}/{status.steps}",
            metric)


def _unfinished(steps: Sequence[Step]) -> int:
    return sum(step.action in UNFINISHED for step in steps)
