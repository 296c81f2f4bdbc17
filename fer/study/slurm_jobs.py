"""What SLURM says of this project's jobs, everybody's: `squeue` and `sacct`. Never submits.

Leases, plans and the status table ask here. Works without accounting: `squeue` remembers jobs for
some minutes after their end (MinJobAge).

A number alone names no job: two clusters count alike, and one that was set up again begins anew.
Where too little of a `JobIdentity` is known, the job is `UNKNOWN`: not over, nobody's to cancel.
"""

import os
import pwd
import re
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

FIELDS = {"JobArrayID": 40, "State": 20, "Reason": 60, "RestartCnt": 10, "StartTime": 24,
          "TimeLeft": 20, "NodeList": 120, "Comment": 80, "UserName": 40}
FORMAT = ",".join(f"{name}:{width}" for name, width in FIELDS.items())
OVERVIEW = "%F|%u|%j|%k"  # id of the array, user, name, comment: an eighth of the time of FORMAT
MARKS = ("|fer-", "|fer:")  # how names and comments of this project's jobs begin
MOST_IDS = 5000  # of one call of squeue; beyond that it lists everybody's jobs
PATIENCE_S = 30
ACCOUNTED = "JobID,State,Reason,NodeList,User,Comment"
NEVER_SATISFIED = "DependencyNeverSatisfied"  # SLURM cancelled it because a parent failed

WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD",
                     "SPECIAL_EXIT"})
WORKING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING",
                     "STAGE_OUT", "RESIZING"})
UNKNOWN = "UNKNOWN"  # no word of SLURM's: whether the job lives cannot be known from here


@dataclass(frozen=True)
class JobIdentity:
    """What tells one job from all others; empty where it was not noted.

    Attributes:
        id: as in `12` or `12_3`.
        cluster: SLURM's ClusterName.
        user: who submitted it.
        comment: that it carries, of its submission.
    """

    id: str
    cluster: str = ""
    user: str = ""
    comment: str = ""

    def same_job(self, other: "JobIdentity") -> bool:
        """Whether both are one job for certain."""
        return bool(self.cluster or self.comment) and (
            (self.id, self.cluster, self.comment) == (other.id, other.cluster, other.comment))


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array.

    Attributes:
        id: as in `12` or `12_3`.
        state, reason: SLURM's words, or `UNKNOWN` and why.
        restarts: how often it was requeued; 0 where only accounting knows it.
        starts: when it started or may start, as SLURM prints it.
        time_left: of its time limit, as SLURM prints it.
        nodes: its node list.
        comment: by which a submission is found again.
        user: who submitted it.
    """

    id: str
    state: str
    reason: str = ""
    restarts: int = 0
    starts: str = ""
    time_left: str = ""
    nodes: str = ""
    comment: str = ""
    user: str = ""

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
    def unknown(self) -> bool:
        """Whether it cannot be known if it lives; `reason` says why."""
        return self.state == UNKNOWN

    @property
    def may_live(self) -> bool:
        """Whether it is waiting or working, or may be."""
        return self.live or self.unknown

    def is_job(self, wanted: JobIdentity) -> bool:
        """Whether nothing tells them apart: sites drop comments, users unknown here are numbers."""
        users = {self.user, wanted.user} - {""}
        comments = {self.comment, wanted.comment} - {""}
        return self.id == wanted.id and len(comments) < 2 and (
            len(users) < 2 or any(user.isdigit() for user in users))

    def is_surely(self, wanted: JobIdentity) -> bool:
        """Whether it carries the very comment, which no other submission has."""
        return self.is_job(wanted) and self.comment == wanted.comment != ""

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
        cluster: whose queue it is.
        private: whether it hides the jobs of others (PrivateData).
        accounting: whether the cluster keeps accounts, so that `sacct` should answer.
    """

    by_id: Mapping[str, Job] = field(default_factory=dict)
    answered: bool = True
    cluster: str = ""
    private: bool = False
    accounting: bool = False

    def find(self, wanted: JobIdentity) -> Job:
        """Return a job as the queue has it: state empty where it is over and forgotten."""
        job = self.by_id.get(wanted.id)
        here = wanted.cluster == self.cluster != ""
        if not self.answered:
            return unknown(wanted, "SLURM does not answer")
        if wanted.cluster and not here:
            return unknown(wanted, f"its job {wanted.id} is on cluster {wanted.cluster}")
        if job is not None and (job.is_job(wanted) if here else job.is_surely(wanted)):
            return job
        if not here:
            return unknown(wanted, f"its job {wanted.id} is not known here, nor its cluster")
        if self.private and wanted.user != user_name():
            return unknown(wanted, f"SLURM hides the jobs of {wanted.user or 'others'}")
        return Job(wanted.id, "", user=wanted.user)

    def may_work(self, wanted: JobIdentity, restart: int) -> bool:
        """Whether processes of a job's start number `restart` may be alive."""
        job = self.find(wanted)
        # while the old processes leave, SLURM already counts the restart that will follow
        return job.unknown or (job.working and (job.restarts == restart
                                                or job.state == "COMPLETING"))

    def with_comment(self, comment: str) -> list[Job]:
        """Return the jobs that carry exactly this comment."""
        return self._by_comment.get(comment, [])

    @cached_property
    def _by_comment(self) -> dict[str, list[Job]]:
        found = defaultdict(list)
        for job in self.by_id.values():
            found[job.comment].append(job)
        return dict(found)


def unknown(wanted: JobIdentity, why: str) -> Job:
    """Return a job of which it cannot be known whether it lives."""
    return Job(wanted.id, UNKNOWN, why, comment=wanted.comment, user=wanted.user)


def read_queue() -> Jobs:
    """Ask `squeue` for everybody's jobs of this project, those that ended a moment ago included."""
    config = _config()
    text = _listed() if config else None
    if text is None:
        return Jobs({}, answered=False)
    return Jobs(parse_squeue(text), cluster=config.get("ClusterName", ""),
                private="jobs" in config.get("PrivateData", "").split(","),
                accounting=config.get("AccountingStorageType", "").endswith("/slurmdbd"))


def cluster_name() -> str:
    """Return the name of the cluster that `sbatch` submits to; empty where SLURM does not say."""
    return _config().get("ClusterName", "")


def _config() -> dict[str, str]:
    return dict(re.findall(r"^(\w+) *= (\S*)", ask(["scontrol", "show", "config"]) or "", re.M))


def _listed() -> str | None:
    """Return the lines of this project's jobs, without those of fifty thousand others."""
    overview = ask(["squeue", "--noheader", "--states=all", f"--format={OVERVIEW}"])
    if overview is None:
        return None
    ids = sorted({line.partition("|")[0] for line in overview.splitlines()
                  if any(mark in line for mark in MARKS)})
    if not ids:
        return ""
    # asked for one job alone, squeue fails where that is gone meanwhile
    only = [f"--jobs={','.join(ids if len(ids) > 1 else ids * 2)}"] if len(ids) < MOST_IDS else []
    return ask(["squeue", *only, "--noheader", "--array", "--states=all", f"--Format={FORMAT}"])


def parse_squeue(text: str) -> dict[str, Job]:
    """Return the jobs of `squeue --Format=FORMAT --noheader --array`, by id."""
    jobs = {}
    for line in text.splitlines():
        cells, start = [], 0
        for width in FIELDS.values():
            cells.append(line[start : start + width].strip())
            start += width
        name, state, reason, restarts, starts, left, nodes, comment, user = cells
        if name:
            jobs[name] = Job(name, state, reason, int(restarts or 0), starts, left, nodes, comment,
                             user)
    return jobs


def read_accounting(ids: Iterable[str]) -> Jobs:
    """Ask `sacct` for jobs that the queue has forgotten; `answered` is false without accounting."""
    wanted = sorted({job_id.split("_")[0] for job_id in ids if job_id})
    if not wanted:
        return Jobs()
    text = ask(["sacct", "--allocations", "--allusers", "--noheader", "--parsable2",
                f"--format={ACCOUNTED}", "--jobs", ",".join(wanted)])
    return Jobs({}, answered=False) if text is None else Jobs(parse_sacct(text))


def parse_sacct(text: str) -> dict[str, Job]:
    """Return the jobs of `sacct --parsable2 --format=ACCOUNTED`, by id.

    What of an array has not begun is one line, `7_[2-9]`: under the id `7_` here.
    """
    jobs = {}
    for line in text.splitlines():
        name, state, reason, nodes, user, comment = line.split("|", 5)
        word = state.split()[0] if state else ""  # of `CANCELLED by 0`
        name = name.partition("[")[0]
        jobs[name] = Job(name, word, reason, nodes=nodes, user=user, comment=comment)
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

    Only for jobs that this project submitted (FER_JOB is set by `fer.cluster.worker`): a shell
    inside somebody's allocation lives longer than the processes started in it.
    """
    job = environment.get("FER_JOB", "")
    return (job, restart_of_process(environment)) if job else None


def identity_of_process(environment: Mapping[str, str] = os.environ) -> JobIdentity:
    """Return which job this process works in; its id is empty outside any of this project."""
    if not environment.get("FER_JOB"):
        return JobIdentity("", user=user_name())
    return JobIdentity(environment["FER_JOB"], environment.get("SLURM_CLUSTER_NAME", ""),
                       environment.get("SLURM_JOB_USER") or user_name(),
                       environment.get("FER_COMMENT", ""))


def user_name() -> str:
    """Return who this process runs as, by the name that SLURM uses; empty for one without."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container
        return ""


def restart_of_process(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often the job of this process was started again; 0 outside any."""
    return int(environment.get("SLURM_RESTART_COUNT") or 0)


def node_name() -> str:
    """Return what SLURM calls this node, else the host's name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
