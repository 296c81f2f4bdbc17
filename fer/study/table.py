"""The status table of a study: one row a run, from its own files."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch

from rich.console import Console
from rich.table import Table

from fer.study.folder import StudyFolder
from fer.study.lease import Owner
from fer.study.store import RunFolder, State, Status, Store

COLOURS: dict[State, str] = {"done": "green", "failed": "red", "lost": "red", "blocked": "red",
                             "running": "cyan", "cancelled": "yellow"}


@dataclass(frozen=True)
class Row:
    """What is known of one run now.

    `heartbeat_age` and `time_left` are in seconds; None where there is nothing to say.
    """

    run: str
    state: State
    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    metric: float | None
    restarts: int
    job_id: str
    node: str
    heartbeat_age: float | None
    time_left: float | None
    error: str
    traceback: str


def rows_of(study: StudyFolder, store: Store, now: float | None = None) -> list[Row]:
    """Return a row for each run of a study, in its order."""
    states: dict[str, State] = {}
    rows = []
    for entry, folder in study.runs(store):
        status = folder.status()
        state = _state(folder, status, [states.get(parent, "pending") for parent in entry.parents])
        states[entry.run_id] = state
        rows.append(_row(folder, status, state, time.time() if now is None else now))
    return rows


def _state(folder: RunFolder, status: Status, parents: Sequence[State]) -> State:
    """Return the state, which for a process that died is not what it last said."""
    if status.state in ("running", "pending") and any(p in ("failed", "blocked") for p in parents):
        return "blocked"
    if status.state == "running":
        owner: Owner | None = folder.lease.owner()
        return "running" if owner is not None and owner.alive() else "lost"
    if status.state == "pending" and (folder.path / "submit.json").is_file():
        return "queued"
    return status.state


def _row(folder: RunFolder, status: Status, state: State, now: float) -> Row:
    alive = state == "running"
    age = now - status.heartbeat if status.heartbeat and alive else None
    return Row(folder.name, state, status.phase, status.epoch, status.epochs, status.step,
               status.steps, status.metric, status.restarts, status.job_id, status.node, age,
               _time_left(folder, status) if alive else None, status.error, status.traceback)


def _time_left(folder: RunFolder, status: Status) -> float | None:
    """Return the seconds left at the speed since this process began its work."""
    try:
        begun = (folder.path / "env.json").stat().st_mtime
    except FileNotFoundError:
        return None
    steps = status.step - status.first_step
    if steps <= 0 or not status.steps:
        return None
    return (status.heartbeat - begun) / steps * (status.steps - status.step)


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Print the table; narrow terminals lose the node and the job id first."""
    wide = console.width >= 120
    table = Table(box=None, pad_edge=False)
    columns = ["run", "state", "epoch", "step", "val", "restarts", "heard", "left"]
    for column in columns + (["job", "node"] if wide else []):
        table.add_column(column, overflow="fold" if column == "run" else "ellipsis",
                         justify="left" if column in ("run", "state", "node") else "right")
    for row in rows:
        colour = COLOURS.get(row.state, "default")
        cells = [row.run, f"[{colour}]{row.state}[/]", _part(row.epoch, row.epochs),
                 _part(row.step, row.steps), "" if row.metric is None else f"{row.metric:.3f}",
                 str(row.restarts or ""), _span(row.heartbeat_age), _span(row.time_left)]
        table.add_row(*cells, *([row.job_id, row.node] if wide else []))
    console.print(table)


def print_failures(rows: Iterable[Row], console: Console) -> None:
    """Print each failed run with its error and traceback."""
    for row in rows:
        if row.state in ("failed", "lost", "blocked"):
            console.rule(f"{row.state}: {row.run}", align="left")
            console.print(row.error or "no error was said", markup=False, highlight=False)
            if row.traceback:
                console.print(row.traceback, markup=False, highlight=False)


def matching(study: StudyFolder, store: Store, pattern: str) -> list[RunFolder]:
    """Return the runs whose folder name or state matches a shell pattern."""
    rows = rows_of(study, store)
    return [RunFolder(store.runs / row.run) for row in rows
            if fnmatch(row.run, pattern) or row.state == pattern]


def ask_to_stop(folders: Iterable[RunFolder], say: Callable[[str], None]) -> int:
    """Ask runs that are not finished to stop; returns how many were asked."""
    asked = 0
    for folder in folders:
        if folder.status().state != "done":
            folder.path.mkdir(parents=True, exist_ok=True)
            (folder.path / "cancel").touch()
            say(folder.name)
            asked += 1
    return asked


def as_json(rows: Iterable[Row]) -> list[dict[str, object]]:
    """Return the rows as plain values."""
    return [asdict(row) for row in rows]


def _part(done: int, total: int) -> str:
    return f"{done}/{total}" if total else ""


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
