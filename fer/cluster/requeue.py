"""Whether a job that has not finished is to be started again, and by whom.

SLURM requeues a job that it preempts or whose node is lost; it does not requeue one that reaches
its time limit, leaves early after a warning, or whose rank was killed. A job that somebody
cancelled must stay away. Which of these it is can be read off the job's state when it leaves.
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
from fer.study.run_folder import RunFolder, Status
from fer.study.slurm_jobs import restart_of_process

PATIENCE_S = 60.0  # for a controller that is being restarted
MAX_RESTARTS = 20
TAIL_LINES = 20
Ending = Literal["nobody", "requeued", "somebody", "time limit"]


@dataclass(frozen=True)
class CurrentJob:
    """The job of this process, as SLURM sees it now and as this process was started."""

    id: str
    state: str
    restarts: int
    my_restart: int
    run_minutes: float = 0.0
    limit_minutes: float = 0.0

    @property
    def ended_by(self) -> Ending:
        """Who is ending the job: nobody yet, SLURM to start it again, the time limit, or somebody:
        a user, or SLURM for good.

        SLURM counts a restart when it decides on it, while the old processes still run.
        """
        if self.restarts > self.my_restart:
            return "requeued"
        if self.state in ("RUNNING", "CONFIGURING", "SUSPENDED"):
            return "nobody"
        over = self.limit_minutes and self.run_minutes >= self.limit_minutes
        return "time limit" if over else "somebody"


def request_requeue(folders: Sequence[RunFolder], job: CurrentJob | None) -> bool:
    """Have the job started again where nobody does; says whether it will be.

    Called by the first rank when everything is saved.
    """
    if job is None:
        print("SLURM does not answer: launch/sweep.py will start what is missing", flush=True)
        return False
    by = job.ended_by
    print(f"leaving job {job.id}: ended by {by}", flush=True)
    if by == "requeued":
        return True
    if by == "somebody":
        mark_ended(folders, job)
        return False
    return requeue(folders, job)


def mark_ended(folders: Sequence[RunFolder], job: CurrentJob) -> None:
    """Note that somebody ended the job, for when SLURM has forgotten how.

    From inside, `scancel` and a preemption after which the job does not come back look alike.
    SLURM's final word tells them apart as long as it is remembered; after that nobody goes on
    without being asked.
    """
    for folder in unfinished(folders):
        folder.write_status(replace(folder.status(), state="preempted", ended=True, error=(
            f"job {job.id} was ended from outside; --retry goes on from the last checkpoint")))


def requeue(folders: Sequence[RunFolder], job: CurrentJob) -> bool:
    """Put the job back into the queue, unless it was restarted too often; says whether it is."""
    limit = _max_restarts()
    if refuse_restart(folders, job.restarts + 1, first=True):
        return False
    done = subprocess.run(["scontrol", "requeue", job.id], capture_output=True, text=True)
    print(f"requeued job {job.id} (restart {job.restarts + 1} of at most {limit})"
          if done.returncode == 0 else f"scontrol requeue: {done.stderr.strip()}", flush=True)
    return done.returncode == 0


def refuse_restart(folders: Sequence[RunFolder], restart: int, first: bool) -> bool:
    """Say whether start number `restart` is one too many; the first rank says it of the runs."""
    if restart <= _max_restarts():
        return False
    for folder in unfinished(folders) if first else []:
        publish_failure(folder, f"restarted {restart - 1} times, which is the most that "
                                "max_restarts of the profile allows")
    return True


def _max_restarts() -> int:
    return int(os.environ.get("FER_MAX_RESTARTS", MAX_RESTARTS))


def requeue_or_fail(folders: Sequence[RunFolder], code: int, log: Path) -> int:
    """Judge a job whose tasks did not end well; called by the batch script, returns `code`.

    A run that said why it failed is left alone; one that said nothing is to go on.
    """
    for folder in unfinished(folders):
        if kept := kept_failure(folder):
            publish_failure(folder, *kept)
    left = [folder for folder in unfinished(folders) if not _elsewhere(folder)]
    job = current_job() if left else None
    if job is not None and job.ended_by in ("nobody", "time limit"):
        print(f"tasks ended with {code}, without a word on: "
              f"{', '.join(folder.name for folder in left)}", flush=True)
        said = tail(log)
        gone = next((line for line in said.splitlines() if line.endswith(CODE_GONE)), "")
        for folder in left:
            error = gone or f"its processes ended with code {code} without a word"
            folder.write_status(replace(folder.status(), state="lost", error=error,
                                        traceback="" if gone else said))
        if not gone:  # the launcher submits it again, with a new copy of the code
            requeue(left, job)
    elif job is not None and job.ended_by == "somebody":
        mark_ended(left, job)
    return code


def _elsewhere(folder: RunFolder) -> bool:
    """Whether somebody outside this job works on the run.

    A process of this job that outlived its step daemon does not count: the next start takes the
    lease from it, and it ends when it notices.
    """
    return not folder.lease.of_this_job() and folder.lease.held()


def unfinished(folders: Sequence[RunFolder]) -> list[RunFolder]:
    """Return the runs that are neither done nor given up, nor stopped in this job by a search."""
    return [folder for folder in folders
            if not folder.needs_retry and not _has_ended(folder.status())]


def _has_ended(status: Status) -> bool:
    here = status.job_id == os.environ.get("FER_JOB")  # else it was stopped before, and is to go on
    return status.state == "done" or (status.state == "stopped" and here)


def current_job() -> CurrentJob | None:
    """Ask SLURM for the job of this process; None where it does not answer for a minute."""
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
    """Return the job of `scontrol show job --oneliner`."""
    fields = dict(re.findall(r"(\w+)=(\S*)", text))
    return CurrentJob(job_id, fields["JobState"], int(fields.get("Restarts", 0)), my_restart,
                      _minutes(fields.get("RunTime", "")), _minutes(fields.get("TimeLimit", "")))


def _minutes(text: str) -> float:
    """Return `[days-]hours:minutes:seconds` in minutes; 0 for UNLIMITED and the like."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return 0.0
    days, hours, mins, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + mins + seconds / 60


def tail(log: Path) -> str:
    """Return the last lines of a log; empty where there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
    except OSError:
        return ""
