"""State of a run, from its last status and SLURM's state of its job. Pure.

A process that died cannot report it, so its last status is checked against queue and process table.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fer.study.queue_view import stays_away
from fer.study.run_records import State, Status
from fer.study.slurm_jobs import Job

FINAL: tuple[State, ...] = ("done", "failed", "cancelled")
HINTS = (
    ("[Hh]eld", "it starts after: scontrol release {id}"),
    ("PartitionTimeLimit", "it asks for more time than its partition gives and never starts; "
                           "scancel {id}, then lower resources.time"),
    ("BadConstraints|ReqNodeNotAvail|NodeDown", "no node that fits is up; see sinfo -R"),
    ("PartitionDown|PartitionInactive", "its partition is down; see sinfo"),
    ("(Assoc|QOS)(Max|Grp)", "a limit of your account or QOS; it starts when other jobs end"),
    ("InvalidAccount|InvalidQOS", "never starts; scancel {id}, then correct the profile"))
BAD: tuple[State, ...] = ("failed", "cancelled", "blocked")


@dataclass(frozen=True)
class ResolvedState:
    """A state, with a short note on why or until when."""

    state: State
    note: str = ""


@dataclass(frozen=True)
class LastSeen:
    """Evidence on the state of one run.

    Attributes:
        status: the last status its job wrote.
        sent: whether a launcher submitted it.
        cancel_asked: whether a stop was requested.
        parents: states of the runs it starts from.
        job: its SLURM job; None if it was not submitted to SLURM.
        job_live: whether that job is waiting or working.
        alive: returns whether a live process works on the run.
        next_in_job: returns whether its job has ended all runs before it.
    """

    status: Status
    sent: bool
    cancel_asked: bool
    parents: Sequence[State]
    job: Job | None
    job_live: bool
    alive: Callable[[], bool]
    next_in_job: Callable[[], bool] = lambda: False


def resolve_state(seen: LastSeen) -> ResolvedState:
    """Return the state of a run."""
    if seen.status.state in FINAL:
        return ResolvedState(seen.status.state)
    doubt = seen.job.reason if seen.job is not None and seen.job.unknown else ""
    if seen.job is not None and seen.job.state in ("SUSPENDED", "STOPPED"):
        return ResolvedState("suspended", "SLURM suspended its job; it resumes by itself")
    if seen.status.state == "running" and seen.alive():
        return ResolvedState("running", doubt)
    if seen.cancel_asked:
        return ResolvedState("cancelled")
    if doubt:
        return ResolvedState(seen.status.state if seen.status.heartbeat else "queued", doubt)
    if seen.job is not None and seen.job_live:
        return _in_queue(seen, seen.job)
    if any(parent in BAD for parent in seen.parents):
        return ResolvedState("blocked", "a parent run failed or was cancelled")
    if seen.job is not None:
        return _after_job(seen.status, seen.job)
    if seen.status.state == "running":
        return ResolvedState("lost")
    if seen.status.state == "pending" and seen.sent:
        return ResolvedState("queued")
    return ResolvedState(seen.status.state)


def _in_queue(seen: LastSeen, job: Job) -> ResolvedState:
    status = seen.status
    if job.waiting:
        begun = job.restarts > 0 or status.heartbeat > 0
        when = f"eligible {_clock(job.starts)}, " if begun and job.starts[:1].isdigit() else ""
        return ResolvedState("requeued" if begun else "queued", f"{when}{with_hint(job)}")
    if status.state == "preempted":
        return ResolvedState("preempted", "its job is ending")
    if seen.next_in_job():
        return ResolvedState("starting", "its job has begun")
    return ResolvedState("queued", "its job runs but has not reached it")


def with_hint(job: Job) -> str:
    """Return SLURM's reason for a waiting job, and what to do if it will not start by itself."""
    for pattern, hint in HINTS:
        if re.search(pattern, job.reason):
            return f"{job.reason}: {hint.format(id=job.id)}"
    return job.reason


def _clock(moment: str) -> str:
    """Return `2026-11-24T11:51:56` without the day."""
    return moment.partition("T")[2] or moment


def _after_job(status: Status, job: Job) -> ResolvedState:
    if stays_away(status, job):
        return ResolvedState("cancelled")
    how = job.state or "in a state SLURM no longer knows"
    return ResolvedState("lost", f"job {job.id} ended {how}")
