"""SLURM's state of this project's jobs, of all users: `squeue` and `sacct`. Never submits.

Used by leases, plans and the status table. Works without accounting: `squeue` lists jobs for some
minutes after their end (MinJobAge).

A job number alone is ambiguous: two clusters use the same numbers, and a reinstalled one starts
over. If too little of a `JobIdentity` is known, the job is `UNKNOWN`: it counts as alive, and
nobody may cancel it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fer.machine import user_name
from fer.study.slurm_client import ask, cluster_config

FIELDS = {"JobArrayID": 40, "State": 20, "Reason": 60, "RestartCnt": 10, "StartTime": 24,
          "TimeLeft": 20, "NodeList": 120, "Comment": 80, "UserName": 40}
FORMAT = ",".join(f"{name}:{width}" for name, width in FIELDS.items())
OVERVIEW = "%F|%u|%j|%k"  # id of the array, user, name, comment: an eighth of the time of FORMAT
MARKS = ("|fer-", "|fer:")  # prefixes of names and comments of this project's jobs
MOST_IDS = 5000  # per call of squeue; beyond that it lists all jobs
ACCOUNTED = "JobID,State,Reason,NodeList,User,Comment"
NEVER_SATISFIED = "DependencyNeverSatisfied"  # SLURM cancelled it because a parent failed

WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD",
                     "SPECIAL_EXIT"})
WORKING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING",
                     "STAGE_OUT", "RESIZING"})
UNKNOWN = "UNKNOWN"  # not a SLURM state: this machine cannot tell whether the job is alive


@dataclass(frozen=True)
class JobIdentity:
    """Unique identity of a job; fields that were not recorded are empty.

    Attributes:
        id: job id, such as `12` or `12_3`.
        cluster: SLURM's ClusterName.
        user: who submitted it.
        comment: the comment of its submission.
    """

    id: str
    cluster: str = ""
    user: str = ""
    comment: str = ""

    def same_job(self, other: "JobIdentity") -> bool:
        """Return whether both are certainly the same job."""
        return bool(self.cluster or self.comment) and (
            (self.id, self.cluster, self.comment) == (other.id, other.cluster, other.comment))


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array.

    Attributes:
        id: job id, such as `12` or `12_3`.
        state, reason: SLURM's state and reason, or `UNKNOWN` and why.
        restarts: how often it was requeued; 0 if only accounting knows the job.
        starts: when it started or may start, as SLURM prints it.
        time_left: until its time limit, as SLURM prints it.
        nodes: its node list.
        comment: identifies its submission.
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
        """Whether it is queued and has not begun."""
        return self.state in WAITING

    @property
    def working(self) -> bool:
        """Whether its processes may be alive."""
        return self.state in WORKING

    @property
    def live(self) -> bool:
        """Whether it is waiting or working."""
        return self.waiting or self.working

    @property
    def unknown(self) -> bool:
        """Whether it is unknown if it is alive; `reason` says why."""
        return self.state == UNKNOWN

    @property
    def may_live(self) -> bool:
        """Whether it is, or may be, waiting or working."""
        return self.live or self.unknown

    def is_job(self, wanted: JobIdentity) -> bool:
        """Return whether nothing contradicts it; comments may be dropped, and users be numbers."""
        users = {self.user, wanted.user} - {""}
        comments = {self.comment, wanted.comment} - {""}
        return self.id == wanted.id and len(comments) < 2 and (
            len(users) < 2 or any(user.isdigit() for user in users))

    def is_surely(self, wanted: JobIdentity) -> bool:
        """Return whether it also has the same comment, which is unique to a submission."""
        return self.is_job(wanted) and self.comment == wanted.comment != ""

    @property
    def cancelled(self) -> bool:
        """Whether a user cancelled it; not if SLURM did because a parent failed."""
        return self.state == "CANCELLED" and self.reason != NEVER_SATISFIED


@dataclass(frozen=True)
class Jobs:
    """The queue at one moment.

    Attributes:
        by_id: jobs that SLURM remembers.
        answered: whether SLURM responded; if not, nothing is known of any job.
        cluster: name of the cluster.
        private: whether it hides the jobs of other users (PrivateData).
        accounting: whether the cluster has accounting, so that `sacct` should respond.
    """

    by_id: Mapping[str, Job] = field(default_factory=dict)
    answered: bool = True
    cluster: str = ""
    private: bool = False
    accounting: bool = False

    def find(self, wanted: JobIdentity) -> Job:
        """Return a job as the queue has it; its state is empty if it has ended and is forgotten."""
        job = self.by_id.get(wanted.id)
        here = wanted.cluster == self.cluster != ""
        if not self.answered:
            return unknown(wanted, "SLURM does not respond")
        if wanted.cluster and not here:
            return unknown(wanted, f"its job {wanted.id} is on cluster {wanted.cluster}")
        if job is not None and (job.is_job(wanted) if here else job.is_surely(wanted)):
            return job
        if not here:
            return unknown(wanted, f"its job {wanted.id} and its cluster are unknown here")
        if self.private and wanted.user != user_name():
            return unknown(wanted, f"SLURM hides the jobs of {wanted.user or 'others'}")
        return Job(wanted.id, "", user=wanted.user)

    def may_work(self, wanted: JobIdentity, restart: int) -> bool:
        """Return whether processes of start number `restart` of a job may be alive."""
        job = self.find(wanted)
        # SLURM already counts the next restart while the old processes are ending
        return job.unknown or (job.working and (job.restarts == restart
                                                or job.state == "COMPLETING"))

    def with_comment(self, comment: str) -> list[Job]:
        """Return the jobs with exactly this comment."""
        return self._by_comment.get(comment, [])

    @cached_property
    def _by_comment(self) -> dict[str, list[Job]]:
        found = defaultdict(list)
        for job in self.by_id.values():
            found[job.comment].append(job)
        return dict(found)


def unknown(wanted: JobIdentity, why: str) -> Job:
    """Return a job in state `UNKNOWN`."""
    return Job(wanted.id, UNKNOWN, why, comment=wanted.comment, user=wanted.user)


def read_queue() -> Jobs:
    """Return all users' jobs of this project from `squeue`, including recently ended ones."""
    config = cluster_config()
    text = _listed() if config else None
    if text is None:
        return Jobs({}, answered=False)
    return Jobs(parse_squeue(text), cluster=config.get("ClusterName", ""),
                private="jobs" in config.get("PrivateData", "").split(","),
                accounting=config.get("AccountingStorageType", "").endswith("/slurmdbd"))


def _listed() -> str | None:
    """Return the lines of this project's jobs, without the full listing of all others."""
    overview = ask(["squeue", "--noheader", "--states=all", f"--format={OVERVIEW}"])
    if overview is None:
        return None
    ids = sorted({line.partition("|")[0] for line in overview.splitlines()
                  if any(mark in line for mark in MARKS)})
    if not ids:
        return ""
    # asked for a single job, squeue fails if that job has since been purged
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
    """Query `sacct` for jobs that the queue has forgotten; `answered` is false without accounting.
    """
    wanted = sorted({job_id.split("_")[0] for job_id in ids if job_id})
    if not wanted:
        return Jobs()
    text = ask(["sacct", "--allocations", "--allusers", "--noheader", "--parsable2",
                f"--format={ACCOUNTED}", "--jobs", ",".join(wanted)])
    return Jobs({}, answered=False) if text is None else Jobs(parse_sacct(text))


def parse_sacct(text: str) -> dict[str, Job]:
    """Return the jobs of `sacct --parsable2 --format=ACCOUNTED`, by id.

    Pending tasks of an array are one line, `7_[2-9]`, stored under the id `7_`.
    """
    jobs = {}
    for line in text.splitlines():
        name, state, reason, nodes, user, comment = line.split("|", 5)
        word = state.split()[0] if state else ""  # of `CANCELLED by 0`
        name = name.partition("[")[0]
        jobs[name] = Job(name, word, reason, nodes=nodes, user=user, comment=comment)
    return jobs
