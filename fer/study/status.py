"""Rows of a study's status table: one per run, from its own files and the queue.

Not for printing them (`fer.study.status_view`).
"""

import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

from fer import CODE_GONE
from fer.errors import CallerError
from fer.machine import user_name
from fer.study.file_cache import Texts
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import State, Status, parse_status, parse_submit
from fer.study.run_state import FINAL, LastSeen, ResolvedState, resolve_state
from fer.study.slurm_jobs import Job, Jobs
from fer.study.study_folder import Entry, StudyFolder
from fer.study.submission import Submission

LAST_BYTES = 4000  # of a log
SLACK_S = 1.0  # tolerated difference between two clocks of one disk


@dataclass(frozen=True)
class Row:
    """Current state of one run.

    `heartbeat_age` and `time_left` are in seconds, None if unknown. `note` says briefly why a run
    waits and until when. `log` is the output of its SLURM job. `owner` is the user who submitted
    or works on it, if that is another user.
    """

    run: str
    state: State
    note: str
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
    job_time_left: str
    error: str
    traceback: str
    log: str
    owner: str = ""


@dataclass(frozen=True)
class _Read:
    """Content of one run's files; `said_at` is the disk's timestamp of the status."""

    entry: Entry
    folder: RunFolder
    status: Status
    said_at: float
    submission: str
    index: int
    sent: bool


def rows_of(study: StudyFolder, store: Store, now: float | None = None, queue: Queue | None = None
            ) -> list[Row]:
    """Return a row for each run of a study, in its order.

    Args:
        now: seconds since 1970 by the clock of the study's disk; None asks the disk.
        queue: None reads it if an unfinished run was submitted to SLURM.
    """
    return _Table(study, store, queue or Queue(store.home), now).rows()


class _Table:
    """The rows of a study at one moment."""

    def __init__(self, study: StudyFolder, store: Store, queue: Queue, now: float | None) -> None:
        self.study, self.store, self.queue, self._now = study, store, queue, now
        self.texts = Texts(study.path / "cache.parquet")

    def rows(self) -> list[Row]:
        """Return the rows of all runs, parents before what starts from them."""
        reads = [self._read(entry, folder) for entry, folder in self.study.runs(self.store)]
        sent = [found for read in reads if (found := self._sent(read))]
        self.queue.recall_jobs(found for found in sent if found[0].job)
        states: dict[str, State] = {}
        rows = []
        for read in reads:
            parents: list[State] = [states.get(p, "pending") for p in read.entry.parents]
            row = self._row(read, parents)
            if row.state in ("lost", "cancelled", "blocked") and read.submission:
                row = self._again(read, parents, row)
            states[read.entry.run_id] = row.state
            rows.append(row)
        self.texts.save([path for read in reads for path in _files(read.folder)])
        return rows

    def _read(self, entry: Entry, folder: RunFolder) -> _Read:
        status_path, submit_path = _files(folder)
        status = parse_status(self.texts.read(status_path))
        sent = {} if status.state == "done" else parse_submit(self.texts.read(submit_path))
        return _Read(entry, folder, status, self.texts.changed_at(status_path),
                     str(sent.get("submission", "")), int(sent.get("index", 0)), bool(sent))

    def _again(self, read: _Read, parents: Sequence[State], row: Row) -> Row:
        """Reread the files of a run that seems lost: they were read before the queue was."""
        now = self._read(read.entry, read.folder)
        if now == read:
            return row
        if now.status.state == "done" or (
                (now.submission, now.index) == (read.submission, read.index)):
            return self._row(now, parents)
        return self._row(now, parents, ResolvedState("queued", "just submitted"))

    def _sent(self, read: _Read) -> tuple[Submission, int] | None:
        if read.status.state == "done" or not read.submission:
            return None
        return self.queue.submission(read.submission), read.index

    def _row(self, read: _Read, parents: Sequence[State],
             judged: ResolvedState | None = None) -> Row:
        status, folder, sent = read.status, read.folder, self._sent(read)
        job = self.queue.job(*sent) if sent else None
        known = self.queue.known if sent else Jobs()
        judged = judged or resolve_state(LastSeen(
            status, read.sent, status.state not in FINAL and folder.cancel_asked, parents, job,
            job is not None and job.live,
            alive=lambda: folder.lease.held(known if job else None),
            next_in_job=lambda: sent is not None and self._is_next(folder, *sent)))
        running = judged.state == "running"
        log = str(sent[0].log(read.index, sent[0].job, sent[0].rank_of(read.index, folder.name))
                  ) if sent and job else ""
        return Row(
            folder.name, judged.state, judged.note, status.phase, status.epoch, status.epochs,
            status.step, status.steps, status.metric, status.restarts,
            job.id if job else status.job_id, (job.nodes if job else "") or status.node,
            self._age(read.said_at) if running else None,
            time_left(status, read.said_at, folder.path) if running else None,
            job.time_left if job else "",
            status.error or (_how_lost(judged.note, log) if judged.state == "lost" else ""),
            status.traceback, log, _owner(folder, job, running))

    def _is_next(self, folder: RunFolder, submission: Submission, index: int) -> bool:
        """Return whether the runs before this one in its job are over."""
        try:
            work = submission.work_of(index)
        except (FileNotFoundError, CallerError):  # gone or damaged
            return False
        names = [name for name, _ in work.runs]
        place = names.index(folder.name) if folder.name in names else 0
        before = names[place % work.lanes : place : work.lanes]
        return all(RunFolder(self.store.runs / name).status().state in FINAL for name in before)

    def _age(self, said_at: float) -> float | None:
        """Return the age of a status by the disk's clock; None if clocks disagree.

        The job's own clock may be ahead of this machine's by hours.
        """
        age = self.disk_time - said_at
        return max(age, 0.0) if age > -SLACK_S else None

    @cached_property
    def disk_time(self) -> float:
        """Current time by the clock that stamps the study's files."""
        if self._now is not None:
            return self._now
        try:
            with tempfile.TemporaryFile(dir=self.study.path) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:  # a reader may lack write permission
            return time.time()


def _owner(folder: RunFolder, job: Job | None, running: bool) -> str:
    """Return who submitted or works on a run; empty if that is this user or unknown."""
    owner = folder.lease.owner() if running and not (job and job.user) else None
    name = folder.lease.job_of(owner).user if owner else job.user if job else ""
    return "" if name == user_name() else name


def _files(folder: RunFolder) -> tuple[str, str]:
    return f"{folder.path}/status.json", f"{folder.path}/submit.json"


def _how_lost(note: str, log: str) -> str:
    """Return how a job ended, with the line of its log that says the code was missing."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(0, os.path.getsize(log) - LAST_BYTES))
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return note
    return next((f"{note}: {line}" for line in lines if line.endswith(CODE_GONE)), note)


def time_left(status: Status, said_at: float, folder: Path) -> float | None:
    """Return the remaining seconds at the speed since this process began.

    Args:
        said_at: when the status was written, by the clock of the other files.
    """
    try:
        begun = (folder / "env.json").stat().st_mtime
    except FileNotFoundError:
        return None
    steps = status.step - status.first_step
    if steps <= 0 or not status.steps:
        return None
    return max(said_at - begun, 0.0) / steps * (status.steps - status.step)


def matching(rows: Iterable[Row], pattern: str) -> list[Row]:
    """Return the rows whose run's name or state matches a shell pattern."""
    return [row for row in rows if fnmatch(row.run, pattern) or row.state == pattern]
