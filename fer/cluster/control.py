"""Asks runs to stop, and lets them be tried again: what `launch/status.py` changes."""

import subprocess
from collections.abc import Iterable, Sequence

from fer.errors import CallerError
from fer.study.folder import StudyFolder
from fer.study.jobs import read_queue
from fer.study.lease import LeaseTaken
from fer.study.look import Queue
from fer.study.store import RunFolder, Store
from fer.study.table import Row, matching

CONFIRM_ABOVE = 10  # runs; more than that are only touched when somebody says yes
MOST_IDS = 500  # of one call of scancel
RETRIED = ("failed", "cancelled", "lost", "blocked")


def choose(rows: Sequence[Row], pattern: str, study: str) -> list[Row]:
    """Return the rows that a state or a name pattern means.

    Raises:
        CallerError: none is meant.
    """
    chosen = matching(rows, pattern)
    if not chosen:
        raise CallerError(f"no run of '{study}' has the state or name '{pattern}'")
    return chosen


def ask_to_stop(store: Store, rows: Iterable[Row]) -> list[str]:
    """Ask runs that are not finished to stop, and return their names.

    One that runs saves and stops within seconds; a job that has nothing left to do is taken out of
    the queue.
    """
    folders = [RunFolder(store.runs / row.run) for row in rows if row.state != "done"]
    for folder in folders:
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "cancel").touch()
    cancel_idle_jobs(store, folders)
    return [folder.name for folder in folders]


def cancel_idle_jobs(store: Store, folders: Iterable[RunFolder]) -> None:
    """Take jobs out of the queue whose runs were all asked to stop before the job began."""
    queue = Queue(store.home, read_queue())
    idle: set[str] = set()
    for folder in folders:
        found, job = queue.submission_of(folder), queue.job_of(folder)
        if found is None or job is None or not job.waiting:
            continue
        submission, index = found
        others = [RunFolder(store.runs / name) for name, _ in submission.work_of(index).runs]
        if all(other.cancel_asked or other.status().state == "done" for other in others):
            idle.add(job.id)
    ids = sorted(idle)
    for start in range(0, len(ids), MOST_IDS):
        subprocess.run(["scancel", *ids[start : start + MOST_IDS]], check=False)


def retried(store: Store, rows: Iterable[Row]) -> list[RunFolder]:
    """Return the folders of the runs that did not end well."""
    return [RunFolder(store.runs / row.run) for row in rows if row.state in RETRIED]


def reopen(store: Store, folders: Iterable[RunFolder]) -> tuple[list[str], list[str]]:
    """Let runs be tried again; returns the names of those, and of those that are still ending.

    A run that a job in the queue has still to do stays with that job.
    """
    there = [folder for folder in folders if folder.path.is_dir()]
    queue = Queue(store.home)
    queue.recall(there)
    opened, ending = [], []
    for folder in there:
        job = queue.job_of(folder)
        try:
            if job is not None and job.state == "COMPLETING":
                raise LeaseTaken(job.id)
            folder.reopen(queued=job is not None and queue.may_live(job))
            opened.append(folder.name)
        except LeaseTaken:
            ending.append(folder.name)
    return opened, ending


def say_ending(names: Sequence[str]) -> None:
    """Say which runs cannot be tried again yet."""
    for name in names:
        print(f"not yet: {name} is still ending; --retry again in a moment")


def cluster_of(study: StudyFolder, store: Store) -> str:
    """Return where the study's runs were sent last: a profile or `local`."""
    sent = [folder.submitted for _, folder in study.runs(store)]
    last = max((one for one in sent if one.get("cluster")), default={"cluster": "local"},
               key=lambda one: one.get("time", 0.0))
    return str(last["cluster"])
