"""Whether an unfinished job is to be restarted. Calls no command of SLURM.

SLURM requeues a job that it preempts or whose node is lost; it does not requeue one that reaches
its time limit, exits early after a warning, or whose rank was killed. A cancelled job must not be
restarted. The job's state when it exits distinguishes these cases.

The profile's `python` may be a container without SLURM's commands. The batch script, outside it,
therefore asks for the job's state and requeues the job if this exits with `REQUEUE`.
"""

import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fer import CODE_GONE
from fer.study.failure import (
    HUNG,
    MAX_HANGS,
    hangs,
    kept_failure,
    mark_hung,
    marked_hung,
    publish_failure,
)
from fer.study.job_environment import restart_of_process
from fer.study.run_folder import RunFolder
from fer.study.run_records import Status

REQUEUE = 75  # exit code: unfinished, to be resumed (EX_TEMPFAIL of sysexits.h)
UNSEEN = 74  # for the 0 with which srun ends after it lost its tasks (EX_IOERR)
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
        code: exit code of `srun`; `REQUEUE` if the tasks saved and exited, `UNSEEN` if it ended
            with 0 although they did not finish.
        log: output of rank 0.
        job: None if SLURM does not respond.

    Returns:
        `REQUEUE` if the batch script is to requeue the job, else another code than 0.
    """
    over = 1 if code == REQUEUE else code
    for folder in unfinished(folders):
        if kept := kept_failure(folder):
            publish_failure(folder, *kept)
    left = [folder for folder in unfinished(folders) if not _elsewhere(folder)]
    if folders and not left:
        return over
    if job is None:
        print("SLURM does not respond: launch/sweep.py will submit what is missing", flush=True)
        return over
    print(f"exiting job {job.id}: ended by {job.ended_by}", flush=True)
    if job.ended_by == "requeued":  # by SLURM
        return over
    if job.ended_by == "somebody":
        mark_ended(left, job)
        return over
    if code != REQUEUE and not _restart_helps(left, code, log, job):
        return over
    if refuse_restart(left, job.restarts + 1, first=True):
        return over
    print(f"requeueing job {job.id} (restart {job.restarts + 1} of at most {_max_restarts()})",
          flush=True)
    return REQUEUE


def _restart_helps(left: Sequence[RunFolder], code: int, log: Path, job: CurrentJob) -> bool:
    """Record how the processes of a job died; return whether to start them again."""
    print(f"tasks ended with {code}, without an error message from: "
          f"{', '.join(folder.name for folder in left)}", flush=True)
    last = tail(log)
    gone = next((line for line in last.splitlines() if line.endswith(CODE_GONE)), "")
    worked_on = next((folder for folder in left if folder.status().state == "running"), left[0])
    if code == HUNG:
        mark_hung(worked_on, "no step for long")  # unless a rank did
    hung = hangs(worked_on) if marked_hung(worked_on) else []
    cause = Cause(gone) if gone else cause_of(code, last, hung, job.ended_by)
    status = worked_on.status()
    began = status.state == "running" and status.begun
    at_zero = status.restarts > 0 and status.first_step == 0  # as the start before it
    stuck = status.stalls > 0 or at_zero if began else job.my_restart > 0  # at its second start
    for folder in left:
        folder.write_status(replace(folder.status(), state="lost", error=cause.error,
                                    traceback="" if gone else last))
    if gone:  # the launcher submits it again, with a new copy of the code
        return False
    if cause.passes == "never" or (cause.passes == "rarely" and stuck):
        publish_failure(worked_on, cause.error, last)
    return bool(unfinished(left))


@dataclass(frozen=True)
class Cause:
    """How the processes of a job died.

    Attributes:
        error: one line for the user.
        passes: whether another start may go better: `never`, `rarely` (one is tried without
            progress), `often` (as long as the limits of the profile and of the run allow).
    """

    error: str
    passes: Literal["never", "rarely", "often"] = "often"


OUT_OF_MEMORY = ("out of memory: the job reached its memory limit; raise memory_per_gpu or memory "
                 "of the profile")
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")


def cause_of(code: int, log: str, hung: Sequence[str], ended_by: Ending) -> Cause:
    """Return how processes that left no error message died.

    Args:
        code: exit code of `srun`: 128 + the signal's number for a killed process; or `UNSEEN`.
        log: end of the log.
        hung: how earlier starts and this one hung; empty if this one did not.
        ended_by: cause of the job's end as SLURM knows it.
    """
    if re.search(r"oom[-_ ]kill|out of memory", log, re.IGNORECASE):
        return Cause(OUT_OF_MEMORY, "never")
    if hung:
        line = f"hung: {hung[-1]}; the stacks of all ranks are in its logs"
        return Cause(line, "often" if len(hung) < MAX_HANGS else "never")
    if ended_by == "time limit":
        return Cause("it did not save before the time limit; raise signal_delay of the profile")
    if code == UNSEEN:
        return Cause("srun lost its processes: their step daemon was killed")
    name = _signal_name(code)
    if name in CRASHES:
        return Cause(f"its processes crashed ({name})", "rarely")
    ended = f"were killed ({name})" if name else f"ended with code {code}"
    return Cause(f"its processes {ended} without an error message", "often" if name else "rarely")


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return ""


def mark_ended(folders: Sequence[RunFolder], job: CurrentJob) -> None:
    """Record that the job was ended from outside, since SLURM forgets it.

    From inside, `scancel` and a preemption without requeue are indistinguishable. SLURM's final
    state decides while it is remembered; after that the runs resume only on request.
    """
    for folder in unfinished(folders):
        folder.write_status(replace(folder.status(), state="preempted", ended=True, error=(
            f"job {job.id} was ended from outside; --retry resumes from the last checkpoint")))


def refuse_restart(folders: Sequence[RunFolder], restart: int, first: bool) -> bool:
    """Return whether start number `restart` exceeds the limit; rank 0 then marks the runs failed.
    """
    if restart <= _max_restarts():
        return False
    for folder in unfinished(folders) if first else []:
        if _elsewhere(folder):  # its status is not ours to write
            continue
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
