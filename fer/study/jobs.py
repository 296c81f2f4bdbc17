"""What SLURM says of this user's jobs: one call of `squeue`, one of `sacct`. Never submits.

Leases, plans and the status table ask here. Works without accounting: `squeue` remembers jobs for
some minutes after their end (MinJobAge).
"""

import os
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

FIELDS = {"JobArrayID": 40, "State": 20, "Reason": 60, "RestartCnt": 10, "StartTime": 24,
          "TimeLeft": 20, "NodeList": 120, "Comment": 80}
FORMAT = ",".join(f"{name}:{width}" for name, width in FIELDS.items())
PATIENCE_S = 30
NEVER_SATISFIED = "DependencyNeverSatisfied"  # SLURM cancelled it because a parent failed

WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD",
                     "SPECIAL_EXIT"})
WORKING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING",
                     "STAGE_OUT", "RESIZING"})


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array.

    Attributes:
        id: as in `12` or `12_3`.
        state, reason: SLURM's words.
        restarts: how often it was requeued; 0 where only accounting knows it.
        starts: when it started or may start, as SLURM prints it.
        time_left: of its time limit, as SLURM prints it.
        nodes: its node list.
        comment: by which a submission is found again.
    """

    id: str
    state: str
    reason: str = ""
    restarts: int = 0
    starts: str = ""
    time_left: str = ""
    nodes: str = ""
    comment: str = ""

    @property
    def waiting(self) -> bool:
        """Whether it is in the queue and has not begun."""
        return self.state in WAITING

    @property
    def working(self) -> bool:
        """Whether processes of it may be alive."""
        return self.state in WORKING

    @property
    def live(self) -> bool:
        """Whether something is still to come of it."""
        return self.waiting or self.working

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it; not if SLURM did because a parent failed."""
        return self.state == "CANCELLED" and self.reason != NEVER_SATISFIED


@dataclass(frozen=True)
class Jobs:
    """The queue at one moment.

    Attributes:
        by_id: jobs that SLURM remembers.
        answered: whether SLURM answered; if not, nothing is known of any job.
    """

    by_id: Mapping[str, Job] = field(default_factory=dict)
    answered: bool = True

    def may_live(self, job_id: str) -> bool:
        """Whether a job is waiting or working; one nothing is known of may be."""
        job = self.by_id.get(job_id)
        return not self.answered if job is None else job.live

    def may_work(self, job_id: str, restart: int) -> bool:
        """Whether processes of a job's start number `restart` may be alive."""
        job = self.by_id.get(job_id)
        if job is None:
            return not self.answered
        # while the old processes leave, SLURM already counts the restart that will follow
        return job.working and (job.restarts == restart or job.state == "COMPLETING")

    def with_comment(self, comment: str) -> list[Job]:
        """Return the jobs that carry exactly this comment."""
        return [job for job in self.by_id.values() if job.comment == comment]


def read_queue() -> Jobs:
    """Ask `squeue` for all jobs of this user, those that ended a moment ago included."""
    text = ask(["squeue", "--me", "--noheader", "--array", "--states=all", f"--Format={FORMAT}"])
    return Jobs({}, answered=False) if text is None else Jobs(parse_squeue(text))


def parse_squeue(text: str) -> dict[str, Job]:
    """Return the jobs of `squeue --Format=FORMAT --noheader --array`, by id."""
    jobs = {}
    for line in text.splitlines():
        cells, start = [], 0
        for width in FIELDS.values():
            cells.append(line[start : start + width].strip())
            start += width
        name, state, reason, restarts, starts, left, nodes, comment = cells
        if name:
            jobs[name] = Job(name, state, reason, int(restarts or 0), starts, left, nodes, comment)
    return jobs


def read_accounting(ids: Iterable[str]) -> Jobs:
    """Ask `sacct` for jobs that the queue has forgotten; `answered` is false without accounting."""
    wanted = sorted({job_id.split("_")[0] for job_id in ids if job_id})
    if not wanted:
        return Jobs()
    text = ask(["sacct", "--allocations", "--noheader", "--parsable2",
                 "--format=JobID,State,Reason,NodeList", "--jobs", ",".join(wanted)])
    return Jobs({}, answered=False) if text is None else Jobs(parse_sacct(text))


def parse_sacct(text: str) -> dict[str, Job]:
    """Return the jobs of `sacct --parsable2 --format=JobID,State,Reason,NodeList`, by id."""
    jobs = {}
    for line in text.splitlines():
        name, state, reason, nodes = line.split("|")
        word = state.split()[0] if state else ""  # of `CANCELLED by 0`
        jobs[name] = Job(name, word, reason, nodes=nodes)
    return jobs


def ask(command: list[str]) -> str | None:
    """Return what a command of SLURM printed; None where it is not there or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def job_of_process(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return (job id, restart) of the job in which this process works on runs, if it is in one.

    Only for jobs that this project submitted (FER_JOB is set by `fer.cluster.task`): a shell
    inside somebody's allocation lives longer than the processes started in it.
    """
    job = environment.get("FER_JOB", "")
    return (job, restart_of_process(environment)) if job else None


def restart_of_process(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often the job of this process was started again; 0 outside any."""
    return int(environment.get("SLURM_RESTART_COUNT") or 0)


def node_name() -> str:
    """Return what SLURM calls this node, else the host's name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
