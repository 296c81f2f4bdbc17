"""Status of a search for `launch/status.py`, from its record on disk. Does not import Ray."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.table import Table

from fer.config.search import Search
from fer.console import Terminal
from fer.errors import CallerError
from fer.search.best import all_ended
from fer.search.trial_record import Entry, Record, best_first
from fer.search.trial_table import add_columns, cells
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.run_state import with_hint
from fer.study.submission import SCRIPTS

WATCH_SECONDS = 2.0


@dataclass
class SearchStatus:
    """A started search and its trials."""

    folder: Path
    search: Search
    store: Store

    @property
    def record(self) -> Record:
        """The current trials."""
        return Record(self.folder)

    @property
    def ended(self) -> bool:
        """Whether every trial has ended and the report is written."""
        page = self.folder / "report/index.html"
        return page.is_file() and all_ended(self.record, self.search)

    @property
    def all_well(self) -> bool:
        """Whether no trial has failed."""
        return all(entry.state != "failed" for entry in self.record)

    @property
    def rows(self) -> list[Entry]:
        """The trials, in order."""
        return list(self.record)

    def cancel(self, pattern: str, sure: bool) -> None:
        """Refuse: only the search itself ends trials."""
        raise CallerError(f"search {self.search.search}: stop it with Ctrl-C where it runs, or "
                          "with scancel; it saves, and the same command resumes it")

    def print_log(self, pattern: str) -> None:
        """Refuse: trials share the log of their search."""
        raise CallerError(f"search {self.search.search}: logs are below {self.folder / SCRIPTS}")

    def retry(self, pattern: str, sure: bool) -> int:
        """Refuse: only the search itself retries trials."""
        raise CallerError(f"search {self.search.search}: to retry failed trials: python "
                          f"launch/tune.py {self.folder / 'search.yaml'} --retry")

    def print(self) -> None:
        """Print the table."""
        if self.rows:
            Terminal().print(self.table())
            return
        queue = Queue(self.store.home)
        jobs = [job for path in sorted((self.folder / SCRIPTS).glob("[0-9]*"))
                if (job := queue.job(queue.submission(str(path.relative_to(self.store.home)))))
                and job.may_live]
        for job in jobs:
            reason = f" ({with_hint(job)})" if job.waiting else ""
            print(f"no trial yet: its job {job.id} is {job.state.lower()}{reason}")
        if not jobs:
            print(f"no trial yet; log: {self.folder}")

    def print_failures(self) -> None:
        """Print the error of each failed trial, with its traceback."""
        for entry in self.record:
            if entry.state == "failed":
                print(f"── failed: trial {entry.number} {entry.run}\n{entry.error}")
                folder = RunFolder(self.store.runs / entry.run)
                if entry.run and (traceback := folder.status().traceback):
                    print(traceback.rstrip())
                print()

    def watch(self) -> None:
        """Refresh the table until the search has ended or the command is interrupted."""
        with Live(self.table(), auto_refresh=False) as live:
            while not self.ended:
                time.sleep(WATCH_SECONDS)
                live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Return one row per trial: those with a score first, best first."""
        entries, keys = list(self.record), list(self.search.space)
        best = best_first(entries, self.search.higher_is_better)
        scored = {entry.key for entry in best}
        table = Table(box=None, pad_edge=False)
        add_columns(table, "trial", "seed", "state", "epoch", self.search.metric, *keys, "node")
        for entry in [*best, *(entry for entry in entries if entry.key not in scored)]:
            number, *rest = cells(entry, keys)
            table.add_row(number, "" if entry.seed is None else str(entry.seed), *rest, entry.where)
        return table
