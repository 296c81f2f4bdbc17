"""Asks runs to stop, and lets them be tried again: what `launch/status.py` changes."""

import subprocess
from collections.abc import Iterable, Sequence

from fer.errors import CallerError
from fer.study.lease import LeaseTaken
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.slurm_jobs import Job, read_queue, user_name
from fer.study.status import Row, matching
from fer.study.study_folder import StudyFolder
from fer.study.submission import Submission

CONFIRM_ABOVE = 10  # runs; more than that are only touched when somebody says yes
MOST_IDS = 500  # of one call of scancel
RETRIED = ("failed", "cancelled", "lost", "blocked")


def select_rows(rows: Sequence[Row], pattern: str, study: str) -> list[Row]:
    """Return the rows that a state or a name pattern means.

    Raises:
        CallerError: none is meant.
    """
    chosen = matching(rows, pattern)
    if not chosen:
        raise CallerError(f"no run of '{study}' has the state or name '{pattern}'")
    return chosen


def request_stop(store: Store, rows: Iterable[Row], study: str) -> tuple[list[str], list[str]]:
    """Ask runs that are not finished to stop.

    One that runs saves and stops within seconds; a job that has nothing left to do is taken out of
    the queue. What somebody else submitted or works on, and what may be somebody else's, is left
    alone.

    Returns:
        the names of the runs that were asked, and a line for each that was not: whom to ask.
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
        (folder.path / "cancel").touch()
        folders.append(folder)
    cancel_idle_jobs(store, folders, queue)
    return [folder.name for folder in folders], others


def _not_mine(queue: Queue, folder: RunFolder, study: str) -> str:
    """Return why a run is not this user's to stop; empty where it is."""
    job = queue.job_of(folder)
    job = job if job is not None and job.may_live else None
    if job is not None and job.user:
        if job.user == user_name():
            return ""
        return (f"left alone: {folder.name}: {job.user} submitted its job {job.id}; to ask "
                f"{job.user} for: scancel {job.id}")
    if job is not None:
        return f"left alone: {folder.name}: {job.reason or f'nobody knows whose job {job.id} is'}"
    worker = folder.lease.owner()
    user = folder.lease.job_of(worker).user if worker else ""
    if worker is None or user in ("", user_name()) or not folder.lease.held(queue.known):
        return ""
    return (f"left alone: {folder.name}: {user} works on it (process {worker.pid} on "
            f"{worker.host}); to ask {user} for: python launch/status.py {study} --cancel "
            f"'{folder.name}'")


def cancel_idle_jobs(store: Store, folders: Iterable[RunFolder], queue: Queue) -> None:
    """Take jobs out of the queue whose runs were all asked to stop before the job began.

    Only jobs that are known to be of this submission, by this user on this cluster.
    """
    idle: set[str] = set()
    for folder in folders:
        found = queue.submission_of(folder)
        job = queue.job(*found) if found else None
        if found is None or job is None or not (job.waiting and _is_mine(job, *found)):
            continue
        submission, index = found
        others = [RunFolder(store.runs / name) for name, _ in submission.work_of(index).runs]
        if all(other.cancel_asked or other.status().state == "done" for other in others):
            idle.add(job.id)
    ids = sorted(idle)
    for start in range(0, len(ids), MOST_IDS):
        subprocess.run(["scancel", *ids[start : start + MOST_IDS]], check=False)


def _is_mine(job: Job, submission: Submission, index: int) -> bool:
    return job.is_surely(submission.identity(index)) and job.user == user_name() != ""


def retried(store: Store, rows: Iterable[Row]) -> list[RunFolder]:
    """Return the folders of the runs that did not end well."""
    return [RunFolder(store.runs / row.run) for row in rows if row.state in RETRIED]


def reopen(store: Store, folders: Iterable[RunFolder]) -> tuple[list[str], list[str]]:
    """Let runs be tried again; returns the names of those, and a line for each that cannot be yet.

    A run that a job in the queue has still to do stays with that job.
    """
    there = [folder for folder in folders if folder.path.is_dir()]
    queue = Queue(store.home)
    queue.recall(there)
    opened, ending = [], []
    for folder in there:
        job = queue.job_of(folder)
        if job is not None and job.unknown:
            ending.append(f"left alone: {folder.name}: {job.reason}")
            continue
        try:
            if job is not None and job.state == "COMPLETING":
                raise LeaseTaken(job.id)
            folder.reopen(queued=job is not None and job.live)
            opened.append(folder.name)
        except LeaseTaken:
            ending.append(f"not yet: {folder.name} is still ending; --retry again in a moment")
    return opened, ending


def cluster_of(study: StudyFolder, store: Store) -> str:
    """Return where the study's runs were sent last: a profile or `local`."""
    sent = [folder.submitted for _, folder in study.runs(store)]
    last = max((one for one in sent if one.get("cluster")), default={"cluster": "local"},
               key=lambda one: one.get("time", 0.0))
    return str(last["cluster"])
