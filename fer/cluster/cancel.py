"""Stopping and retrying of runs, for `launch/status.py`."""

import subprocess
import time
from collections.abc import Iterable, Sequence

from fer.errors import CallerError
from fer.machine import user_name
from fer.study.lease import LeaseTaken
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.slurm_jobs import Job, read_queue
from fer.study.status import Row, matching
from fer.study.study_folder import StudyFolder
from fer.study.submission import Submission

GRACE_S = 300.0  # for a running job to save and exit
CONFIRM_ABOVE = 10  # runs; more than that need a confirmation
MOST_IDS = 500  # per call of scancel
RETRIED = ("failed", "cancelled", "lost", "blocked")


def select_rows(rows: Sequence[Row], pattern: str, study: str) -> list[Row]:
    """Return the rows selected by a state or a name pattern.

    Raises:
        CallerError: no row matches.
    """
    chosen = matching(rows, pattern)
    if not chosen:
        raise CallerError(f"no run of '{study}' has the state or name '{pattern}'")
    return chosen


def request_stop(store: Store, rows: Iterable[Row], study: str) -> tuple[list[str], list[str]]:
    """Request unfinished runs to stop.

    A running run saves and stops within seconds; a waiting job without remaining work is cancelled,
    as is a running one that did not react to an earlier request.
    Runs that are, or may be, another user's are left unchanged.

    Returns:
        the names of the runs to be stopped, and a line for each other run with whom to ask.
    """
    queue = Queue(store.home, read_queue())
    folders, others = [], []
    for row in rows:
        folder = RunFolder(store.runs / row.run)
        if row.state == "done":
            continue
        if line := _not_mine(queue, folder, study):
            others.append(line)
            continue
        folder.path.mkdir(parents=True, exist_ok=True)
        if not folder.cancel_asked:  # its time says since when
            (folder.path / "cancel").touch()
        folders.append(folder)
    cancel_idle_jobs(store, folders, queue)
    return [folder.name for folder in folders], others


def _not_mine(queue: Queue, folder: RunFolder, study: str) -> str:
    """Return why this user may not stop a run; empty if they may."""
    job = queue.job_of(folder)
    job = job if job is not None and job.may_live else None
    if job is not None and job.user:
        if job.user == user_name():
            return ""
        return (f"skipped: {folder.name}: {job.user} submitted its job {job.id}; ask {job.user} to "
                f"run: scancel {job.id}")
    if job is not None:
        return f"skipped: {folder.name}: {job.reason or f'the owner of job {job.id} is unknown'}"
    worker = folder.lease.owner()
    user = folder.lease.job_of(worker).user if worker else ""
    if worker is None or user in ("", user_name()) or not folder.lease.held(queue.known):
        return ""
    return (f"skipped: {folder.name}: {user} works on it (process {worker.pid} on "
            f"{worker.host}); ask {user} to run: python launch/status.py {study} --cancel "
            f"'{folder.name}'")


def cancel_idle_jobs(store: Store, folders: Iterable[RunFolder], queue: Queue) -> None:
    """Cancel jobs whose runs are all done or requested to stop.

    Waiting ones at once, and working ones that have not saved and exited `GRACE_S` after the
    request. Only jobs that certainly belong to this submission, this user and this cluster.
    """
    idle: set[str] = set()
    for folder in folders:
        found = queue.submission_of(folder)
        job = queue.job(*found) if found else None
        if found is None or job is None or not (job.live and _is_mine(job, *found)):
            continue
        submission, index = found
        others = [RunFolder(store.runs / name) for name, _ in submission.work_of(index).runs]
        left = [other for other in others if other.status().state != "done"]
        if all(other.cancel_asked for other in left) and (
                job.waiting or all(_overdue(other) for other in left)):
            idle.add(job.id)
    ids = sorted(idle)
    for start in range(0, len(ids), MOST_IDS):
        subprocess.run(["scancel", *ids[start : start + MOST_IDS]], check=False)


def _overdue(folder: RunFolder) -> bool:
    """Return whether a stop was requested so long ago that the run should have saved."""
    try:
        return time.time() - (folder.path / "cancel").stat().st_mtime > GRACE_S
    except FileNotFoundError:
        return False


def _is_mine(job: Job, submission: Submission, index: int) -> bool:
    return job.is_surely(submission.identity(index)) and job.user == user_name() != ""


def retried(store: Store, rows: Iterable[Row]) -> list[RunFolder]:
    """Return the folders of the runs that need a retry."""
    return [RunFolder(store.runs / row.run) for row in rows if row.state in RETRIED]


def reopen(store: Store, folders: Iterable[RunFolder]) -> tuple[list[str], list[str]]:
    """Make runs ready to retry; return their names, and a line for each that is not yet possible.

    A run that a queued job still has to do stays with that job.
    """
    existing = [folder for folder in folders if folder.path.is_dir()]
    queue = Queue(store.home)
    queue.recall(existing)
    opened, ending = [], []
    for folder in existing:
        job = queue.job_of(folder)
        if job is not None and job.unknown:
            ending.append(f"skipped: {folder.name}: {job.reason}")
            continue
        try:
            if job is not None and job.state == "COMPLETING":
                raise LeaseTaken(job.id)
            folder.reopen(queued=job is not None and job.live)
            opened.append(folder.name)
        except LeaseTaken:
            ending.append(f"not yet: {folder.name} is still ending; use --retry again shortly")
    return opened, ending


def cluster_of(study: StudyFolder, store: Store) -> str:
    """Return where the study's runs were last submitted: a profile or `local`."""
    sent = [folder.submitted for _, folder in study.runs(store)]
    last = max((one for one in sent if one.get("cluster")), default={"cluster": "local"},
               key=lambda one: one.get("time", 0.0))
    return str(last["cluster"])
