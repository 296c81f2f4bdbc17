"""How the runs of a study stand: what their folders say, and SLURM's queue where they were sent.

Reads only. What follows from it is `fer.study.plan`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from fer.study.expand import Run
from fer.study.jobs import Job, Jobs, read_queue
from fer.study.plan import OnDisk
from fer.study.store import RunFolder, Store
from fer.study.submission import Submission

NEVER_SATISFIED = "DependencyNeverSatisfied"  # SLURM cancelled it because a parent failed


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
        submission, index = found
        job_id = f"{submission.job}_{index}"
        return self.known.by_id.get(job_id) or Job(job_id, submission.ends.get(job_id, ""))

    def may_live(self, job: Job) -> bool:
        """Whether a job is waiting or working; where SLURM does not answer, it may be."""
        return self.known.may_live(job.id)


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
    return {run.id: _look(store, run, splits if run.wanted else {}, queue, present)
            for run in runs}


def _look(store: Store, run: Run, splits: Mapping[str, str], queue: Queue,
          present: frozenset[str]) -> OnDisk:
    folder = store.folder(run)
    if folder.name not in present:
        return OnDisk(missing=tuple(splits))
    trained = folder.trained
    missing = tuple(s for s, digest in splits.items()
                    if not trained or not folder.evaluated(s, digest))
    if trained and not missing:
        return OnDisk(True, missing=missing)
    job = queue.job_of(folder)
    waiting = job if job and queue.may_live(job) else None
    held = folder.lease.held(queue.known if job else queue.jobs)
    failed = folder.gave_up or (job is not None and was_cancelled(job))
    return OnDisk(trained, failed, held, missing, waiting.id if waiting else "")


def was_cancelled(job: Job) -> bool:
    """Whether somebody cancelled a job; not if SLURM did because a parent failed."""
    return job.state == "CANCELLED" and job.reason != NEVER_SATISFIED
