"""The rows of the status table of a study: one a run, from its own files and the queue.

Not for printing them (`fer.study.show`).
"""

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fer import CODE_GONE
from fer.study.folder import Entry, StudyFolder
from fer.study.jobs import Job, Jobs, read_accounting, read_queue
from fer.study.state import FINAL, Seen, judge
from fer.study.store import RunFolder, State, Status, Store, parse_status
from fer.study.submission import Submission
from fer.study.texts import Texts

LAST_BYTES = 4000  # of a log


@dataclass(frozen=True)
class Row:
    """What is known of one run now.

    `heartbeat_age` and `time_left` are in seconds; None where there is nothing to say. `note` says
    in a few words why a run waits and until when. `log` is the output of its job on SLURM.
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


@dataclass(frozen=True)
class _Read:
    """What the files of one run say."""

    entry: Entry
    folder: RunFolder
    status: Status
    submission: str
    index: int
    sent: bool


def rows_of(study: StudyFolder, store: Store, now: float | None = None) -> list[Row]:
    """Return a row for each run of a study, in its order."""
    reads = _read_all(study, store)
    unfinished = [read for read in reads if read.status.state != "done"]
    sent = {read.submission: Submission(store.home / read.submission)
            for read in unfinished if read.submission}
    queue = read_queue() if sent else Jobs()
    for submission in sent.values():
        submission.adopt(queue)
    past = _past_jobs(unfinished, sent, queue)
    states: dict[str, State] = {}
    rows = []
    for read in reads:
        job = _job_of(read, sent, queue, past)
        row = _row(read, job, queue, [states.get(p, "pending") for p in read.entry.parents],
                   sent, time.time() if now is None else now)
        states[read.entry.run_id] = row.state
        rows.append(row)
    return rows


def _read_all(study: StudyFolder, store: Store) -> list[_Read]:
    texts = Texts(study.path / "cache.parquet")
    reads, paths = [], []
    for entry, folder in study.runs(store):
        status_path, submit_path = f"{folder.path}/status.json", f"{folder.path}/submit.json"
        paths += [status_path, submit_path]
        status = parse_status(texts.read(status_path))
        sent = {} if status.state == "done" else _json(texts.read(submit_path))
        reads.append(_Read(entry, folder, status, str(sent.get("submission", "")),
                           int(sent.get("index", 0)), bool(sent)))
    texts.save(paths)
    return reads


def _json(text: str | None) -> dict[str, Any]:
    try:
        return dict(json.loads(text)) if text else {}
    except ValueError:
        return {}


def _past_jobs(reads: Iterable[_Read], sent: dict[str, Submission], queue: Jobs) -> dict[str, Job]:
    """Return jobs that the queue has forgotten: as recorded, else as accounting knows them."""
    if not queue.answered:
        return {}
    ids = {job_id for read in reads if (job_id := _job_id(read, sent)) not in queue.by_id} - {""}
    ends = {job_id: state for submission in sent.values()
            for job_id, state in submission.ends.items()}
    asked = read_accounting(ids - ends.keys()).by_id
    return {**asked, **{job_id: Job(job_id, state) for job_id, state in ends.items()}}


def _job_id(read: _Read, sent: dict[str, Submission]) -> str:
    submission = sent.get(read.submission)
    return f"{submission.job}_{read.index}" if submission and submission.job else ""


def _job_of(read: _Read, sent: dict[str, Submission], queue: Jobs, past: dict[str, Job]
            ) -> Job | None:
    job_id = _job_id(read, sent)
    if not job_id:
        return None
    return queue.by_id.get(job_id) or past.get(job_id) or Job(job_id, "")


def _row(read: _Read, job: Job | None, queue: Jobs, parents: Sequence[State],
         sent: dict[str, Submission], now: float) -> Row:
    status, folder = read.status, read.folder
    final = status.state in FINAL
    judged = judge(Seen(
        status, read.sent, not final and folder.cancel_asked, parents, job,
        job is not None and queue.may_live(job.id), queue.answered,
        alive=lambda: folder.lease.held(queue if job else None)))
    running = judged.state == "running"
    log = ""
    if job is not None:
        submission = sent[read.submission]
        log = str(submission.log(read.index, submission.job))
    return Row(
        folder.name, judged.state, judged.note, status.phase, status.epoch, status.epochs,
        status.step, status.steps, status.metric, status.restarts,
        job.id if job else status.job_id, (job.nodes if job else "") or status.node,
        now - status.heartbeat if status.heartbeat and running else None,
        time_left(status, folder.path) if running else None, job.time_left if job else "",
        status.error or (_how_lost(judged.note, log) if judged.state == "lost" else ""),
        status.traceback, log)


def _how_lost(note: str, log: str) -> str:
    """Return how a job ended, with what its log says where there was no code to run."""
    try:
        with open(log, "rb") as handle:
            handle.seek(max(0, os.path.getsize(log) - LAST_BYTES))
            lines = handle.read().decode(errors="replace").splitlines()
    except OSError:
        return note
    return next((f"{note}: {line}" for line in lines if line.endswith(CODE_GONE)), note)


def time_left(status: Status, folder: Path) -> float | None:
    """Return the seconds left at the speed since this process began its work."""
    try:
        begun = (folder / "env.json").stat().st_mtime
    except FileNotFoundError:
        return None
    steps = status.step - status.first_step
    if steps <= 0 or not status.steps:
        return None
    return (status.heartbeat - begun) / steps * (status.steps - status.step)


def matching(rows: Iterable[Row], pattern: str) -> list[Row]:
    """Return the rows whose run's name or state matches a shell pattern."""
    return [row for row in rows if fnmatch(row.run, pattern) or row.state == pattern]
