"""Progress of a search: a live table in a terminal, one line per trial in a log."""

import time
from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fer.config.search import Search
from fer.search.options import TrialSlots
from fer.search.trial_record import ENDED, Entry, Key, Record, best_first
from fer.search.trial_runs import label, shown
from fer.study.live_table import LiveTable

MOST_ROWS = 12


class SearchProgress(LiveTable):
    """Live view of a search's record; use as a context manager."""

    def __init__(self, search: Search, slots: TrialSlots, console: Console) -> None:
        super().__init__(console)
        self.search, self.slots = search, slots
        self._printed: set[Key] = set()
        self._begun = time.monotonic()
        self._epochs_before: int | None = None

    def show(self, record: Record) -> None:
        """Show the state of the trials."""
        entries = list(record)
        if self._epochs_before is None:
            self._epochs_before = sum(len(entry.curve) for entry in record.searched)
        if self.live:
            self.live.update(self.table(entries), refresh=True)
            return
        for entry in entries:
            if entry.state in ENDED and entry.key not in self._printed:
                self._printed.add(entry.key)
                self.console.print(self._line(entry), markup=False, highlight=False,
                                   soft_wrap=True)

    def _line(self, entry: Entry) -> str:
        score = "" if entry.score is None else f"  {self.search.metric} {entry.score:.4f}"
        error = f"  {entry.error}" if entry.error else ""
        what = "finalist" if entry.seed is not None else "trial"
        seed = "" if entry.seed is None else f" seed {entry.seed}"
        return (f"{self.seconds:5.0f} s  {what} {entry.number:3}{seed} {entry.state:8} "
                f"epoch {len(entry.curve)}/{entry.epochs}{score}  {label(entry.params)}{error}")

    @property
    def seconds(self) -> float:
        """Seconds since the search was started or resumed."""
        return time.monotonic() - self._begun

    def table(self, entries: list[Entry]) -> Table:
        """Return a table of the running and the best trials, titled with the used budget."""
        keys = list(self.search.space)
        table = Table(title=self.title(entries), box=None, title_justify="left", pad_edge=False)
        add_columns(table, "trial", "state", "epoch", self.search.metric, *keys)
        best = best_first(entries, self.search.higher_is_better)
        running = [entry for entry in entries if entry.state == "running"]
        rows = {entry.key: entry for entry in [*best[:MOST_ROWS // 2], *running][:MOST_ROWS]}
        for entry in rows.values():
            table.add_row(*self._cells(entry, best, keys))
        return table

    def title(self, entries: list[Entry]) -> str:
        """Return trials by state, the used budget, and an upper bound on the remaining time."""
        counts = Counter(entry.state for entry in entries)
        listed = ", ".join(f"{count} {state}" for state, count in counts.items())
        budget = self.search.budget
        entries = [entry for entry in entries if entry.seed is None]  # the budget is for these
        epochs = sum(len(entry.curve) for entry in entries)
        parts = [listed, f"{self.seconds:.0f} s"]
        if budget.trials:
            begun = sum(entry.state != "waiting" or bool(entry.curve) for entry in entries)
            parts.append(f"{begun} of {budget.trials} trials started")
        if budget.epochs:
            parts.append(f"{epochs} of {budget.epochs} epochs")
        if budget.gpu_hours:
            parts.append(f"{self.slots.gpu_hours(entries):.1f} of {budget.gpu_hours:g} GPU-hours")
        if (left := self._time_left(entries, epochs)) is not None:
            parts.append(f"at most about {left / 60:.0f} min left")
        return " · ".join(parts)

    def _time_left(self, entries: list[Entry], epochs: int) -> float | None:
        """Return the seconds until the first limit of the budget is reached, at this rate.

        For the number of trials, all are assumed to train to the end, so early stopping makes it
        less. None before the first epoch, and for a grid without a budget.
        """
        new = epochs - (self._epochs_before or 0)
        if not new or not entries:
            return None
        budget = self.search.budget
        longest = max(entry.epochs for entry in entries)
        ended = sum(entry.epochs - len(entry.curve) for entry in entries
                    if entry.state in ENDED)
        left: list[float] = [limit - epochs for limit in (budget.epochs,) if limit]
        if budget.trials:
            left.append(budget.trials * longest - epochs - ended)
        if budget.gpu_hours and (used := self.slots.gpu_hours(entries)):
            left.append(epochs * (budget.gpu_hours / used - 1))  # at the mean hours per epoch
        return max(0, min(left)) * self.seconds / new if left else None

    def _cells(self, entry: Entry, best: list[Entry], keys: list[str]) -> list[Text | str]:
        number, state, epoch, score, *params = cells(entry, keys)
        style = "bold" if best and best[0].key == entry.key else ""
        return [Text(number, style), state, epoch, Text(score, style), *params]


def add_columns(table: Table, *names: str) -> None:
    """Add columns of trials, each headed by the last part of its name."""
    for name in names:
        table.add_column(name.rpartition(".")[2], no_wrap=True,
                         justify="left" if name in ("state", "node") else "right")


def cells(entry: Entry, keys: list[str]) -> list[str]:
    """Return number, state, epoch and score of a trial, and its values for `keys`."""
    return [str(entry.number), entry.state, f"{len(entry.curve)}/{entry.epochs}",
            "" if entry.score is None else f"{entry.score:.4f}",
            *(shown(entry.params[key]) if key in entry.params else "" for key in keys)]
