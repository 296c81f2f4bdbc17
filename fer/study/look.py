"""How the runs of a study stand: what their folders say, and SLURM's queue where they were sent.

Reads only. What follows from it is `fer.study.plan`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fer.study.expand import Run
from fer.study.jobs import Job, Jobs, read_accounting, read_queue
from fer.study.plan import OnDisk
from fer.study.store import RunFolder, Status, Store
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
    _past: dict[str, Job] = field(default_factory=dict)

    @cached_property
    def known(self) -> Jobs:
        """The queue, read once."""
        return read_queue() if self.jobs is None else self.jobs

    def submission_of(self, folder: RunFolder) -> tuple[Submission, int] | None:
        """Return the submission of a run and its index in there, if it was sent to SLURM."""
        sent = folder.submitted
        name = sent.get("submission")
        if name is None:
            return None
        if name not in self._submissions:
            submission = self._submissions[name] = Submission(self.home / name)
            submission.adopt(self.known)
        return self._submissions[name], int(sent["index"])

    def job_of(self, folder: RunFolder) -> Job | None:
        """Return the job of a run; its state is empty where nobody remembers the job."""
        found = self.submission_of(folder)
        if found is None or not found[0].job:
            return None
        job_id = _id_of(*found)
        ended = found[0].ends.get(job_id, "")
        return (self.known.by_id.get(job_id) or (Job(job_id, ended) if ended else None)
                or self._past.get(job_id) or Job(job_id, ""))

    def recall(self, folders: Iterable[RunFolder]) -> None:
        """Ask accounting, in one call, for jobs that the queue has forgotten."""
        sent = [found for folder in folders if (found := self.submission_of(folder))]
        ids = {_id_of(submission, index) for submission, index in sent if submission.job
               and _id_of(submission, index) not in submission.ends}
        if self.known.answered and (forgotten := ids - self.known.by_id.keys()):
            self._past = dict(read_accounting(forgotten).by_id)

    def may_live(self, job: Job) -> bool:
        """Whether a job is waiting or working; where SLURM does not answer, it may be."""
        return self.known.may_live(job.id)


def _id_of(submission: Submission, index: int) -> str:
    return f"{submission.job}_{index}"


def look(
    store: Store, runs: Sequence[Run], splits: Mapping[str, str], queue: Queue | None = None
) -> dict[str, OnDisk]:
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
    return found | {run_id: _with_queue(found[run_id], folder, queue)
                    for run_id, folder in unfinished.items()}


def _files(folder: RunFolder, splits: Mapping[str, str], present: bool) -> OnDisk:
    """Return what the files of a run say."""
    trained = present and folder.trained
    missing = tuple(s for s, digest in splits.items()
                    if not trained or not folder.evaluated(s, digest))
    return OnDisk(trained, missing=missing)


def _with_queue(found: OnDisk, folder: RunFolder, queue: Queue) -> OnDisk:
    """Add what its processes and the queue say of a run that is not finished."""
    job = queue.job_of(folder)
    waiting = job if job and queue.may_live(job) else None
    held = folder.lease.held(queue.known if job else queue.jobs)
    failed = folder.gave_up or (job is not None and stays_away(folder.status(), job))
    return replace(found, failed=failed, held=held, job=waiting.id if waiting else "")


def stays_away(status: Status, job: Job) -> bool:
    """Whether a run waits for `--retry` because somebody cancelled its job.

    Where SLURM has forgotten how the job ended, what the job saw of its end counts.
    """
    return job.cancelled or (not job.state and status.ended)
