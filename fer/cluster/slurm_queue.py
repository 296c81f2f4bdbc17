"""A study on SLURM: submit what is missing, and optionally follow the jobs.

Jobs need no launcher. Following them only resubmits those that ended without an error message.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console

from fer.cluster.arrays import Dispatch, make_arrays
from fer.cluster.estimate import History
from fer.cluster.request import ExpandedStudy
from fer.cluster.submit import (
    SCRIPTS,
    Submitter,
    check_partitions,
    max_array_size,
    queued_arrays,
    report_is_queued,
    submitting,
)
from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.config.study import Resources, minutes
from fer.errors import CallerError, plural
from fer.study.lease import LeaseTaken
from fer.study.live_table import StudyProgress
from fer.study.plan import UNFINISHED, Step, plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Jobs, read_queue
from fer.study.snapshot import snapshot

POLL_SECONDS = 5.0
DISK_SECONDS = 15.0  # delay with which a network disk may show a job's last files
MAX_ATTEMPTS = 3  # submissions of a run whose job ends without an error message


@dataclass
class SlurmQueue:
    """Queue that executes the plan of a study on a cluster.

    Args:
        place: name of the profile.
    """

    store: Store
    work: ExpandedStudy
    place: str
    profile: Profile
    console: Console
    attempts: Counter[str] = field(default_factory=Counter)
    idle_since: dict[str, float] = field(default_factory=dict)

    def steps(self, jobs: Jobs | None = None) -> list[Step]:
        """Return the plan for the current state of run folders and queue."""
        queue = Queue(self.store.home, jobs)
        return plan(self.work.runs, look(self.store, self.work.runs, self.work.splits, queue))

    def dispatch(self, steps: Sequence[Step], max_array: int) -> Dispatch:
        """Return the array jobs of a plan."""
        history = History(self.store, self.work.contents, self.work.study.resources.ranks)
        return make_arrays(steps, self.work.study.resources, history.seconds, max_array,
                           self.profile.time)

    def submit(self) -> list[Step]:
        """Submit what is missing and return the plan afterwards.

        Raises:
            CallerError: SLURM does not respond, refuses, or lacks the resources of a run.
        """
        refuse_impossible(self.work.study.resources, self.place, self.profile)
        with submitting(self.store) as lock:
            jobs = read_queue()
            if not jobs.answered:
                raise CallerError(f"profile {self.place}: squeue does not respond, so the queue "
                                  "is unknown; nothing was submitted")
            steps = self.steps(jobs)
            if not any(step.action in ("train", "evaluate", "wait", "queued") for step in steps):
                return steps
            made = self.dispatch(steps, max_array_size())
            self._print_left(made)
            others = queued_arrays(steps)
            scripts = self.store.study(self.work.study.study) / SCRIPTS
            if not made.arrays and (not others or report_is_queued(scripts, jobs)):
                return steps
            check_partitions(self.place, self.profile, self.work.study.resources.nodes)
            code = snapshot(REPOSITORY, scripts)
            work = self.work
            submitter = Submitter(self.store, work.study.study, work.splits, work.data, self.place,
                                  self.profile, code, lock)
            ids = submitter.submit(made.arrays, others)
        if not made.arrays:
            self.console.print("submitted the report, to run after the queued jobs")
            return steps
        self.attempts.update(step.run.id for array in made.arrays
                             for job in array.jobs.values() for step in job)
        count = sum(array.runs for array in made.arrays)
        self.console.print(f"submitted {plural(count, 'run')} in {plural(len(ids), 'array job')} "
                           f"to {self.place}: {', '.join(ids)}", soft_wrap=True)
        return self.steps()

    def _print_left(self, made: Dispatch) -> None:
        for line in left_lines(made):
            self.console.print(line, markup=False, soft_wrap=True)

    def follow(self) -> list[Step]:
        """Poll until there is nothing to wait for; return the last plan."""
        with StudyProgress(self.store, self.console) as progress:
            while True:
                jobs = read_queue()
                steps = self.steps(jobs)
                progress.show(steps)
                if not any(step.action in UNFINISHED for step in steps):
                    return steps
                lost = self._lost(steps)
                if lost and jobs.answered:
                    self._give_up_on(lost)
                    self.submit()
                if all(step.action in ("wait", "done", "failed", "blocked") for step in steps):
                    return steps  # the remaining runs wait for a process that does not exist
                time.sleep(POLL_SECONDS)

    def _lost(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps that have had no job for some time."""
        idle = {step.run.id: step for step in steps if step.action in ("train", "evaluate")}
        now = time.monotonic()
        self.idle_since = {key: self.idle_since.get(key, now) for key in idle}
        return [step for key, step in idle.items() if now - self.idle_since[key] > DISK_SECONDS]

    def _give_up_on(self, lost: Sequence[Step]) -> None:
        """Mark runs as failed whose jobs repeatedly ended without an error message."""
        for step in lost:
            if self.attempts[step.run.id] < MAX_ATTEMPTS:
                continue
            folder = self.store.folder(step.run)
            try:
                folder.lease.take()
            except LeaseTaken:  # a process works on it after all
                continue
            if not folder.needs_retry and folder.status().state != "done":
                folder.write_status(replace(folder.status(), state="failed", error=(
                    f"its job ended without an error message, {MAX_ATTEMPTS} times; logs: "
                    f"{self.store.study(self.work.study.study) / 'slurm'}")))
            folder.lease.release()


def left_lines(made: Dispatch) -> list[str]:
    """Return a line for each run that cannot be submitted yet."""
    return [f"not submitted yet: {step.run.name}: a process outside SLURM works on its parent"
            for step in made.left]


def refuse_impossible(resources: Resources, place: str, profile: Profile) -> None:
    """Raise a `CallerError` for resources that no job of a cluster can get.

    These are more GPUs than a node has, or a time limit shorter than the signal delay.
    """
    gpus, most = resources.gpus, profile.gpus_per_node
    if minutes(resources.time) * 60 <= profile.signal_delay:
        raise CallerError(f"resources.time: {resources.time} is not longer than signal_delay of "
                          f"{place}, {profile.signal_delay} s: jobs would exit as they begin")
    if most is not None and gpus > most:
        raise CallerError(f"resources.gpus: {gpus} on one node, but a node of {place} has {most} "
                          f"(gpus_per_node); use more nodes: resources.nodes")
