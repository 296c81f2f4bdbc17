"""Whether an unfinished job is to be restarted. Calls no command of SLURM.

SLURM requeues a job that it preempts or whose node is lost; it does not requeue one that reaches
its time limit, exits early after a warning, or whose rank was killed. A cancelled job must not be
restarted. The job's state when it exits distinguishes these cases.

The profile's `python` may be a container without SLURM's commands. The batch script, outside it,
therefore asks for the job's state and requeues the job if this exits with `REQUEUE`.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fer import CODE_GONE
from fer.study.failure import kept_failure, publish_failure
from fer.study.job_environment import restart_of_process
from fer.study.run_folder import RunFolder, Status

REQUEUE = 75  # exit code: unfinished, to be resumed (EX_TEMPFAIL of sysexits.h)
MAX_RESTARTS = 20
TAIL_LINES = 20
Ending = Literal["nobody", "requeued", "somebody", "time limit"]


@dataclass(frozen=True)
class CurrentJob:
    """The job of this process: its state in SLURM, and the restart of this process."""

    id: str
    state: str
    restarts: int
    my_restart: int
    run_minutes: float = 0.0
    limit_minutes: float = 0.0

    @property
    def ended_by(self) -> Ending:
        """Cause of the job's end: `nobody` yet, `requeued` by SLURM, `time limit`, or `somebody`
        (a user, or SLURM for good).

        SLURM counts a restart as soon as it is decided, while the old processes still run.
        """
        if self.restarts > self.my_restart:
            return "requeued"
        if self.state in ("RUNNING", "CONFIGURING", "SUSPENDED"):
            return "nobody"
        over = self.limit_minutes and self.run_minutes >= self.limit_minutes
        return "time limit" if over else "somebody"


def after_tasks(folders: Sequence[RunFolder], code: int, log: Path, job: CurrentJob | None) -> int:
    """Decide what follows tasks that did not all succeed; return the exit code of the job.

    Called once by the batch script. A run with an error message stays failed; one without, or
    one that saved and exited, is to be resumed.

    Args:
        folders: the runs of the job; none for a search.
        code: exit code of `srun`; `REQUEUE` if the tasks saved and exited.
        log: output of rank 0.
        job: None if SLURM does not respond.

    Returns:
        `REQUEUE` if the batch script is to requeue the job, else `code`.
    """
    for folder in unfinished(folders):
        if kept := kept_failure(folder):
            publish_failure(folder, *kept)
    left = [folder for folder in unfinished(folders) if not _elsewhere(folder)]
    if folders and not left:
        return code
    if job is None:
        print("SLURM does not respond: launch/sweep.py will submit what is missing", flush=True)
        return code
    print(f"exiting job {job.id}: ended by {job.ended_by}", flush=True)
    if job.ended_by == "requeued":
        return code
    if job.ended_by == "somebody":
        mark_ended(left, job)
        return code
    if code != REQUEUE and not _restart_helps(left, code, log):
        return code
    return REQUEUE if requeue(left, job) else code


def _restart_helps(left: Sequence[RunFolder], code: int, log: Path) -> bool:
    """Record how the processes of a job died; return whether to start them again."""
    print(f"tasks ended with {code}, without an error message from: "
          f"{', '.join(folder.name for folder in left)}", flush=True)
    last = tail(log)
    gone = next((line for line in last.splitlines() if line.endswith(CODE_GONE)), "")
    for folder in left:
        error = gone or f"its processes ended with code {code} without an error message"
        folder.write_status(replace(folder.status(), state="lost", error=error,
                                    traceback="" if gone else last))
    return not gone  # else the launcher submits it again, with a new copy of the code


def mark_ended(folders: Sequence[RunFolder], job: CurrentJob) -> None:
    """Record that the job was ended from outside, since SLURM forgets it.

    From inside, `scancel` and a preemption without requeue are indistinguishable. SLURM's final
    state decides while it is remembered; after that the runs resume only on request.
    """
    for folder in unfinished(folders):
        folder.write_status(replace(folder.status(), state="preempted", ended=True, error=(
            f"job {job.id} was ended from outside; --retry resumes from the last checkpoint")))


def requeue(folders: Sequence[RunFolder], job: CurrentJob) -> bool:
    """Return whether to requeue the job: not if it was restarted too often."""
    if refuse_restart(folders, job.restarts + 1, first=True):
        return False
    print(f"requeueing job {job.id} (restart {job.restarts + 1} of at most {_max_restarts()})",
          flush=True)
    return True


def refuse_restart(folders: Sequence[RunFolder], restart: int, first: bool) -> bool:
    """Return whether start number `restart` exceeds the limit; rank 0 then marks the runs failed.
    """
    if restart <= _max_restarts():
        return False
    for folder in unfinished(folders) if first else []:
        publish_failure(folder, f"restarted {restart - 1} times, the maximum (max_restarts of "
                                "the profile)")
    return True


def _max_restarts() -> int:
    return int(os.environ.get("FER_MAX_RESTARTS", MAX_RESTARTS))


def _elsewhere(folder: RunFolder) -> bool:
    """Return whether a process outside this job works on the run.

    A process of this job that outlived its step daemon does not count: the next start takes its
    lease, and it then ends.
    """
    return not folder.lease.of_this_job() and folder.lease.held()


def unfinished(folders: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the runs that are neither done nor failed, nor stopped in this job by a search."""
    return [folder for folder in folders
            if not folder.needs_retry and not _has_ended(folder.status())]


def _has_ended(status: Status) -> bool:
    here = status.job_id == os.environ.get("FER_JOB")  # otherwise an earlier stop, to be resumed
    return status.state == "done" or (status.state == "stopped" and here)


def job_now(text: str) -> CurrentJob | None:
    """Return the job of this process from the output of `scontrol show job`; None if empty."""
    # not SLURM_JOB_ID: for the last task of an array that is the id of the whole array
    return parse_job(text, os.environ["FER_JOB"], restart_of_process()) if text.strip() else None


def parse_job(text: str, job_id: str, my_restart: int) -> CurrentJob:
    """Parse the output of `scontrol show job --oneliner`."""
    fields = dict(re.findall(r"(\w+)=(\S*)", text))
    return CurrentJob(job_id, fields["JobState"], int(fields.get("Restarts", 0)), my_restart,
                      _minutes(fields.get("RunTime", "")), _minutes(fields.get("TimeLimit", "")))


def _minutes(text: str) -> float:
    """Convert `[days-]hours:minutes:seconds` to minutes; 0 for UNLIMITED and other text."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return 0.0
    days, hours, mins, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + mins + seconds / 60


def tail(log: Path) -> str:
    """Return the last lines of a log; empty if it is missing."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    except OSError:
        return ""
