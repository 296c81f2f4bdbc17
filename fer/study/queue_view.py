"""States of a study's runs, from their folders and, if submitted, SLURM's queue.

Reads only. The plan is made in `fer.study.plan`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fer.study.expand import Run
from fer.study.plan import RunState
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import Status
from fer.study.slurm_jobs import Job, Jobs, read_accounting, read_queue, unknown
from fer.study.submission import Submission


@dataclass
class Queue:
    """SLURM's queue and the submissions that run folders refer to.

    Args:
        home: `$FER_HOME`, which contains the submissions.
        jobs: the queue; None calls `squeue` on first use.
    """

    home: Path
    jobs: Jobs | None = None
    _submissions: dict[str, Submission] = field(default_factory=dict)
    _past: Jobs = field(default_factory=Jobs)
    _recalled: set[str] = field(default_factory=set)

    @cached_property
    def known(self) -> Jobs:
        """The queue, read once."""
        return read_queue() if self.jobs is None else self.jobs

    def submission(self, name: str) -> Submission:
        """Return a submission by its folder below `home`, with its job."""
        if name not in self._submissions:
            submission = self._submissions[name] = Submission(self.home / name)
            submission.adopt(self.known)
        return self._submissions[name]

    def submission_of(self, folder: RunFolder) -> tuple[Submission, int] | None:
        """Return the submission of a run and its array index, if it was submitted to SLURM."""
        sent = folder.submitted
        name = sent.get("submission")
        return None if name is None else (self.submission(name), int(sent["index"]))

    def job_of(self, folder: RunFolder) -> Job | None:
        """Return the job of a run: see `job`."""
        found = self.submission_of(folder)
        return self.job(*found) if found else None

    def job(self, submission: Submission, index: int | None = None) -> Job | None:
        """Return the job of a submission, or of one index of it, if SLURM has it.

        Its state is empty if it has ended and its end is forgotten, and UNKNOWN if this machine
        cannot tell whether it is alive.
        """
        wanted = submission.identity(index)
        if not wanted.id:
            elsewhere = wanted.cluster not in ("", self.known.cluster) and self.known.answered
            return unknown(wanted, f"it was being submitted on cluster {wanted.cluster}"
                           ) if elsewhere else None
        job = self.known.find(wanted)
        if (job.state and not job.unknown) or not self.known.answered:
            return job
        if ended := submission.ends.get(wanted.id):
            return Job(wanted.id, ended, user=wanted.user)
        if wanted.cluster not in ("", self.known.cluster):
            return job
        if not self._past.answered and self.known.accounting:
            return unknown(wanted, "sacct does not respond, and squeue no longer lists its job "
                                   f"{wanted.id}")
        past = self._past.by_id.get(wanted.id) or self._past.by_id.get(_unbegun(wanted.id))
        past = replace(past, id=wanted.id) if past else None
        if past is None or not (past.is_job(wanted) if wanted.cluster else past.is_surely(wanted)):
            return job
        return past if not past.live else unknown(
            wanted, f"sacct says {past.state} of its job {wanted.id}, which squeue does not list")

    def recall(self, folders: Iterable[RunFolder]) -> None:
        """Query accounting, in one call, for jobs that the queue has forgotten."""
        self.recall_jobs(found for folder in folders if (found := self.submission_of(folder)))

    def recall_jobs(self, sent: Iterable[tuple[Submission, int]]) -> None:
        """Query accounting, in one call, for jobs by their submissions and indices."""
        forgotten = set()
        for submission, index in sent if self.known.answered else ():
            wanted = submission.identity(index)
            here = wanted.cluster in ("", self.known.cluster)
            job = self.known.find(wanted)
            if (wanted.id and here and (job.unknown or not job.state)
                    and wanted.id not in submission.ends):
                forgotten.add(wanted.id)
        if new := forgotten - self._recalled:
            found = read_accounting(new)
            self._past = replace(found, by_id={**self._past.by_id, **found.by_id})
            self._recalled |= new


def _unbegun(job_id: str) -> str:
    """Return the id under which accounting lists the pending tasks of an array."""
    return job_id.rpartition("_")[0] + "_"


def look(
    store: Store, runs: Sequence[Run], splits: Mapping[str, str], queue: Queue | None = None
) -> dict[str, RunState]:
    """Read the run folders.

    Args:
        splits: `{split: content digest}` on which to evaluate every wanted run.
        queue: the queue if already read; None reads it if a run was submitted to SLURM.
    """
    queue = queue or Queue(store.home)
    present = store.names
    found = {}
    unfinished: dict[str, RunFolder] = {}
    for run in runs:
        folder = store.folder(run)
        found[run.id] = _files(folder, splits if run.wanted else {}, folder.name in present)
        if folder.name in present and (found[run.id].missing or not found[run.id].trained):
            unfinished[run.id] = folder
    queue.recall(unfinished.values())
    wanted = {run.id for run in runs if run.wanted}
    return found | {run_id: _with_queue(found[run_id], folder, queue,
                                        splits if run_id in wanted else {})
                    for run_id, folder in unfinished.items()}


def _files(folder: RunFolder, splits: Mapping[str, str], present: bool) -> RunState:
    """Return the state of a run according to its files."""
    trained = present and folder.trained
    missing = tuple(s for s, digest in splits.items()
                    if not trained or not folder.evaluated(s, digest))
    return RunState(trained, missing=missing)


def _with_queue(found: RunState, folder: RunFolder, queue: Queue, splits: Mapping[str, str]
                ) -> RunState:
    """Add the state of an unfinished run's processes and job."""
    job = queue.job_of(folder)
    held = folder.lease.held(queue.known if job else queue.jobs)
    if job is not None and not held and not job.may_live:  # it may have finished since
        found = _files(folder, splits, present=True)
    failed = folder.needs_retry or (job is not None and stays_away(folder.status(), job))
    doubt = job.reason if job and job.unknown and not failed else ""
    return replace(found, failed=failed, held=held or bool(doubt),
                   job=job.id if job and job.live else "", doubt=doubt)


def stays_away(status: Status, job: Job) -> bool:
    """Return whether a run waits for `--retry` because its job was cancelled.

    If SLURM has forgotten how the job ended, the job's own record counts.
    """
    return job.cancelled or (not job.state and status.ended)
