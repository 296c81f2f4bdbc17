"""The command behind `launch/status.py`: show and watch runs, cancel them, retry them."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from fer.cluster.cancel import (
    CONFIRM_ABOVE,
    cluster_of,
    reopen,
    request_stop,
    retried,
    select_rows,
)
from fer.cluster.profile_files import LOCAL, use_places_of
from fer.config.load import load_search
from fer.config.paths import home
from fer.config.search import Search
from fer.config.validate import validate
from fer.config.yaml_io import read_tree
from fer.errors import CallerError, choices, plural
from fer.study.orphans import orphaned_rows
from fer.study.overview import overview
from fer.study.queue_view import Queue
from fer.study.run_folder import Store
from fer.study.run_records import State
from fer.study.slurm_poll import QueuePoll
from fer.study.status import Row, rows_of
from fer.study.status_view import counts, log_text, print_failures, print_rows, table_lines
from fer.study.study_folder import StudyFolder, read_study

if TYPE_CHECKING:
    from fer.search.search_status import SearchStatus

WATCH_SECONDS = 5.0
ATTENTION: tuple[State, ...] = ("failed", "lost", "blocked", "cancelled")
ORDER: tuple[State, ...] = ("running", "starting", "suspended", "preempted", "requeued", "failed",
                            "lost", "blocked", "cancelled", "orphaned", "queued", "stopped",
                            "pending", "done")


@dataclass
class StudyStatus:
    """A study and the rows of its status table."""

    study: StudyFolder
    store: Store
    rows: list[Row]

    @property
    def all_done(self) -> bool:
        """Whether every run of the study is done."""
        return all(row.state in ("done", "orphaned") for row in self.rows)

    @property
    def all_well(self) -> bool:
        """Whether no run needs the user: each is done, running, or will be."""
        return not any(row.state in ATTENTION for row in self.rows)

    def print(self) -> None:
        """Print the table."""
        print_rows(self.rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)

    def print_failures(self) -> None:
        """Print the error of each run that failed."""
        print_failures(self.rows)

    def print_log(self, pattern: str) -> None:
        """Print the logs of the one run that a pattern selects."""
        chosen = select_rows(self.rows, pattern, self.study.study.study)
        if len(chosen) > 1:
            raise CallerError(f"--log prints one run, but '{pattern}' selects {len(chosen)}: "
                              f"{choices(row.run for row in chosen[:5])}")
        paths = [self.store.runs / chosen[0].run / "logs/train.log",
                 *([Path(chosen[0].log)] if chosen[0].log else [])]
        found = [path for path in paths if path.is_file()]
        if not found:
            raise CallerError(f"{chosen[0].run} has no log yet; it is {chosen[0].state}")
        for path in found:
            print(f"── {path}\n{log_text(path)}")

    def watch(self) -> None:
        """Refresh the table until every run is done or the command is interrupted."""
        from rich.live import Live
        from rich.text import Text

        from fer.console import Terminal

        console, poll = Terminal(), QueuePoll(self.store.home)
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                lines = self._screen(console.width, console.height)
                live.update(Text.from_ansi("\n".join(lines)), refresh=True)
                if self.all_done:
                    break
                time.sleep(WATCH_SECONDS)
                self._refresh(poll)
        self.print()

    def _refresh(self, poll: QueuePoll) -> None:
        """Read the runs anew; the queue only now and then, and before a run is called lost."""
        lost = {row.run for row in self.rows if row.state == "lost"}
        self.rows = _rows(self.study, self.store, poll.queue())
        if {row.run for row in self.rows if row.state == "lost"} - lost:
            poll.now()
            self.rows = _rows(self.study, self.store, poll.queue())

    def _screen(self, width: int, height: int) -> list[str]:
        """Return the lines that fit on a screen: running runs first, finished ones last."""
        rows = sorted(self.rows, key=lambda row: ORDER.index(row.state))
        lines = table_lines(rows, width, colour=True)
        hidden = len(lines) - (height - 2)
        if hidden > 0:
            lines = [*lines[: height - 3], f"… and {hidden + 1} more"]
        return [f"{counts(self.rows)} · {time.strftime('%H:%M:%S')}", *lines]

    def cancel(self, pattern: str, sure: bool) -> None:
        """Request runs to stop, selected by state or name pattern."""
        chosen = select_rows(self.rows, pattern, self.study.study.study)
        _confirm("cancel", chosen, sure)
        names, others = request_stop(self.store, chosen, self.study.study.study)
        print("\n".join([*names, *others,
                         f"stop requested for {plural(len(names), 'run')}; --retry resumes"]))

    def retry(self, pattern: str, sure: bool) -> int:
        """Retry runs on the cluster they were submitted to; return the exit code."""
        chosen = select_rows(self.rows, pattern, self.study.study.study)
        _confirm("retry", chosen, sure)
        place = cluster_of(self.study, self.store)
        names, ending = reopen(self.store, retried(self.store, chosen))
        print("\n".join([*names, f"{plural(len(names), 'run')} ready to retry"]))
        print("".join(f"{line}\n" for line in ending), end="")
        file = str(self.study.path / "study.yaml")
        if place == LOCAL:
            print(f"to run them on this machine: python launch/sweep.py {quote(str(file))}")
            return 0
        from fer.cluster.request import Request
        from fer.commands.sweep import sweep

        return sweep(Request((file,), cluster=place, follow=False))


def status_of(name: str, cluster: str) -> "SearchStatus | StudyStatus":
    """Return the status of a study or a search.

    Args:
        name: a started study or search, or its file.
        cluster: the profile whose paths apply; empty for the default.
    """
    use_places_of(cluster)
    store = Store(home())
    if search := _search(name, store):
        return search
    study = read_study(store, name)
    return StudyStatus(study, store, _rows(study, store, Queue(store.home)))


def print_overview(cluster: str, as_json: bool) -> None:
    """Print every study and search of a store.

    Args:
        cluster: the profile whose paths apply; empty for the default.
    """
    use_places_of(cluster)
    store = Store(home())
    found = overview(store, Queue(store.home))
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        print("\n".join(found.lines()))


def _search(name: str, store: Store) -> "SearchStatus | None":
    """Return the search of that name, if it has been started."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file() or "search" not in read_tree(Path(name)):
            return None
        name = load_search(name).search
    folder = store.study(name)
    file = folder / "search.yaml"
    if not file.is_file():
        return None
    from fer.search.search_status import SearchStatus

    return SearchStatus(folder, validate(Search, read_tree(file), str(file)), store)


def _rows(study: StudyFolder, store: Store, queue: Queue) -> list[Row]:
    return rows_of(study, store, queue=queue) + orphaned_rows(study, store, queue)


def _confirm(verb: str, rows: Sequence[Row], sure: bool) -> None:
    """Ask for confirmation before changing many runs.

    Raises:
        CallerError: standard input is not a terminal, or the answer is no.
    """
    if sure or len(rows) <= CONFIRM_ABOVE:
        return
    if not sys.stdin.isatty():
        raise CallerError(f"--{verb} selects {len(rows)} runs; add --yes to skip the confirmation")
    if input(f"{verb} {len(rows)} runs? [y/N] ").strip().lower() not in ("y", "yes"):
        raise CallerError(f"nothing changed: {verb} of {len(rows)} runs was not confirmed")
