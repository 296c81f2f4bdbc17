"""Restart of unfinished jobs: whether, and by whom.

SLURM requeues a job that it preempts or whose node is lost; it does not requeue one that reaches
its time limit, exits early after a warning, or whose rank was killed. A cancelled job must not be
restarted. The job's state when it exits distinguishes these cases.
"""

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fer import CODE_GONE
from fer.study.failure import kept_failure, publish_failure
from fer.study.job_environment import restart_of_process
from fer.study.run_folder import RunFolder, Status

PATIENCE_S = 60.0  # the controller may be restarting
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


def request_requeue(folders: Sequence[RunFolder], job: CurrentJob | None) -> bool:
    """Requeue the job unless SLURM does so itself; return whether it will restart.

    Called by rank 0 after everything is saved.
    """
    if job is None:
        print("SLURM does not respond: launch/sweep.py will submit what is missing", flush=True)
        return False
    by = job.ended_by
    print(f"exiting job {job.id}: ended by {by}", flush=True)
    if by == "requeued":
        return True
    if by == "somebody":
        mark_ended(folders, job)
        return False
    return requeue(folders, job)


def mark_ended(folders: Sequence[RunFolder], job: CurrentJob) -> None:
    """Record that the job was ended from outside, since SLURM forgets it.

    From inside, `scancel` and a preemption without requeue are indistinguishable. SLURM's final
    state decides while it is remembered; after that the runs resume only on request.
    """
    for folder in unfinished(folders):
        folder.write_status(replace(folder.status(), state="preempted", ended=True, error=(
            f"job {job.id} was ended from outside; --retry resumes from the last checkpoint")))


def requeue(folders: Sequence[RunFolder], job: CurrentJob) -> bool:
    """Requeue the job, unless it was restarted too often; return whether it was requeued."""
    limit = _max_restarts()
    if refuse_restart(folders, job.restarts + 1, first=True):
        return False
    done = subprocess.run(["scontrol", "requeue", job.id], capture_output=True, text=True)
    print(f"requeued job {job.id} (restart {job.restarts + 1} of at most {limit})"
          if done.returncode == 0 else f"scontrol requeue: {done.stderr.strip()}", flush=True)
    return done.returncode == 0


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


def requeue_or_fail(folders: Sequence[RunFolder], code: int, log: Path) -> int:
    """Handle a job whose tasks failed; called by the batch script, returns `code`.

    A run with an error message stays failed; one without is to be resumed.
    """
    for folder in unfinished(folders):
        if kept := kept_failure(folder):
            publish_failure(folder, *kept)
    left = [folder for folder in unfinished(folders) if not _elsewhere(folder)]
    job = current_job() if left else None
    if job is not None and job.ended_by in ("nobody", "time limit"):
        print(f"tasks ended with {code}, without an error message from: "
              f"{', '.join(folder.name for folder in left)}", flush=True)
        last = tail(log)
        gone = next((line for line in last.splitlines() if line.endswith(CODE_GONE)), "")
        for folder in left:
            error = gone or f"its processes ended with code {code} without an error message"
            folder.write_status(replace(folder.status(), state="lost", error=error,
                                        traceback="" if gone else last))
        if not gone:  # the launcher submits it again, with a new copy of the code
            requeue(left, job)
    elif job is not None and job.ended_by == "somebody":
        mark_ended(left, job)
    return code


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


def current_job() -> CurrentJob | None:
    """Return the job of this process; None if SLURM does not respond for a minute."""
    # not SLURM_JOB_ID: for the last task of an array that is the id of the whole array
    number = os.environ["FER_JOB"]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(["scontrol", "show", "job", "--oneliner", number],
                              capture_output=True, text=True)
        if done.returncode == 0:
            return parse_job(done.stdout, number, restart_of_process())
        if time.monotonic() > deadline:
            return None
        time.sleep(2)


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
