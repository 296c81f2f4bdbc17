"""Queued jobs for runs that no study contains any more, because it was edited after submission.

Reads only; `fer.cluster.cancel` cancels them.
"""

from contextlib import suppress
from pathlib import Path

from fer.machine import user_name
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.slurm_jobs import Job
from fer.study.status import Row
from fer.study.study_folder import StudyFolder
from fer.study.submission import SCRIPTS, Submission
from fer.untrusted_io import read_json


def orphaned_rows(study: StudyFolder, store: Store, queue: Queue) -> list[Row]:
    """Return a row for each run that a job of the study still has to do but no study contains.

    The queue is read only if such a run is possible.
    """
    own = {entry.run for entry in study.entries}
    sent = [(Submission(path.parent), int(index), name)
            for path in sorted((study.path / SCRIPTS).glob("[0-9]*/jobs.json"))
            for index, runs in Submission(path.parent).listed.items() for name, _ in runs
            if name not in own]
    if not sent:
        return []
    wanted = _wanted_elsewhere(store, study.path)
    rows: dict[str, Row] = {}
    for submission, index, name in sent:
        folder = RunFolder(store.runs / name)
        if name in wanted or folder.status().state == "done":
            continue
        known = queue.submission(str(submission.folder.relative_to(store.home)))
        job = queue.job(known, index)
        if job is not None and job.may_live:
            rows[name] = _row(folder, job, str(known.log(index, known.job)))
    return list(rows.values())


def _row(folder: RunFolder, job: Job, log: str) -> Row:
    status = folder.status()
    note = f"no longer in the study; {job.reason if job.unknown else job.state.lower()}"
    return Row(folder.name, "orphaned", note, status.phase, status.epoch, status.epochs,
               status.step, status.steps, status.metric, status.restarts, job.id,
               job.nodes or status.node, None, None, job.time_left, "", "", log,
               "" if job.user == user_name() else job.user)


def _wanted_elsewhere(store: Store, but: Path) -> set[str]:
    """Return the runs of all other studies."""
    found: set[str] = set()
    for file in store.home.glob("studies/*/index.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            if file.parent != but:
                found |= {str(entry["run"]) for entry in read_json(file)["runs"]}
    return found
