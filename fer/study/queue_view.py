"""How the runs of a study stand: what their folders say, and SLURM's queue where they were sent.

Reads only. What follows from it is `fer.study.plan`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fer.study.expand import Run
from fer.study.plan import RunState
from fer.study.run_folder import RunFolder, Status, Store
from fer.study.slurm_jobs import Job, Jobs, read_accounting, read_queue, unknown
from fer.study.submission import Submission


@dataclass
class Queue:
    """SLURM's queue beside the submissions that run folders name.

    Args:
        home: `$FER_HOME`, below which submissions lie.
        jobs: the queue; None asks `squeue` when the first run asks for it.
    """

    home: Path
    jobs: Jobs | None = None
    _submissions: dict[str, Submission] = field(default_factory=dict)
    _past: Jobs = field(default_factory=Jobs)

    @cached_property
    def known(self) -> Jobs:
        """The queue, read once."""
        return read_queue() if self.jobs is None else self.jobs

    def submission(self, name: str) -> Submission:
        """Return a submission by its folder below `home`, with the job that it was given."""
        if name not in self._submissions:
            submission = self._submissions[name] = Submission(self.home / name)
            submission.adopt(self.known)
        return self._submissions[name]

    def submission_of(self, folder: RunFolder) -> tuple[Submission, int] | None:
        """Return the submission of a run and its index in there, if it was sent to SLURM."""
        sent = folder.submitted
        name = sent.get("submission")
        return None if name is None else (self.submission(name), int(sent["index"]))

    def job_of(self, folder: RunFolder) -> Job | None:
        """Return the job of a run: see `job`."""
        found = self.submission_of(folder)
        return self.job(*found) if found else None

    def job(self, submission: Submission, index: int | None = None) -> Job | None:
        """Return the job of a submission, or of one index of it, if it was given to SLURM.

        Its state is empty where it is over and nobody remembers how, and UNKNOWN where it cannot be
        known from here whether it lives.
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
            return unknown(wanted, "sacct does not answer, and squeue has forgotten its job "
                                   f"{wanted.id}")
        past = self._past.by_id.get(wanted.id) or self._past.by_id.get(_unbegun(wanted.id))
        past = replace(past, id=wanted.id) if past else None
        if past is None or not (past.is_job(wanted) if wanted.cluster else past.is_surely(wanted)):
            return job
        return past if not past.live else unknown(
            wanted, f"sacct says {past.state} of its job {wanted.id}, which squeue does not list")

    def recall(self, folders: Iterable[RunFolder]) -> None:
        """Ask accounting, in one call, for jobs that the queue has forgotten."""
        self.recall_jobs(found for folder in folders if (found := self.submission_of(folder)))

    def recall_jobs(self, sent: Iterable[tuple[Submission, int]]) -> None:
        """Ask accounting, in one call, for jobs by their submissions and indices."""
        forgotten = set()
        for submission, index in sent if self.known.answered else ():
            wanted = submission.identity(index)
            here = wanted.cluster in ("", self.known.cluster)
            job = self.known.find(wanted)
            if (wanted.id and here and (job.unknown or not job.state)
                    and wanted.id not in submission.ends):
                forgotten.add(wanted.id)
        if forgotten:
            self._past = read_accounting(forgotten)


def _unbegun(job_id: str) -> str:
    """Return the id under which accounting has what of an array has not begun."""
    return job_id.rpartition("_")[0] + "_"


def look(
    store: Store, runs: Sequence[Run], splits: Mapping[str, str], queue: Queue | None = None
) -> dict[str, RunState]:
    """Read the run folders.

    Args:
        splits: `{split: content digest}` that every wanted run is to be evaluated on.
        queue: as the caller has read it; None reads it where a run was sent to SLURM.
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
    """Return what the files of a run say."""
    trained = present and folder.trained
    missing = tuple(s for s, digest in splits.items()
                    if not trained or not folder.evaluated(s, digest))
    return RunState(trained, missing=missing)


def _with_queue(found: RunState, folder: RunFolder, queue: Queue, splits: Mapping[str, str]
                ) -> RunState:
    """Add what its processes and the queue say of a run that is not finished."""
    job = queue.job_of(folder)
    held = folder.lease.held(queue.known if job else queue.jobs)
    if job is not None and not held and not job.may_live:  # it may have finished since we looked
        found = _files(folder, splits, present=True)
    failed = folder.needs_retry or (job is not None and stays_away(folder.status(), job))
    doubt = job.reason if job and job.unknown and not failed else ""
    return replace(found, failed=failed, held=held or bool(doubt),
                   job=job.id if job and job.live else "", doubt=doubt)


def stays_away(status: Status, job: Job) -> bool:
    """Whether a run waits for `--retry` because somebody cancelled its job.

    Where SLURM has forgotten how the job ended, what the job saw of its end counts.
    """
    return job.cancelled or (not job.state and status.ended)
