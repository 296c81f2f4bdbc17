"""A study on SLURM: submit what is missing, and follow the jobs if asked to.

Following is looking: the jobs need no launcher. It only submits again what ended without a word.
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
from fer.errors import CallerError
from fer.study.lease import LeaseTaken
from fer.study.live_table import StudyProgress
from fer.study.plan import UNFINISHED, Step, plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Jobs, read_queue
from fer.study.snapshot import snapshot

POLL_SECONDS = 5.0
DISK_SECONDS = 15.0  # a network disk may show a job's last files so much later
MAX_ATTEMPTS = 3  # how often a run whose job ended without a word is submitted again


@dataclass
class SlurmQueue:
    """Carries out the plan of a study on a cluster.

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
        """Return the plan as run folders and queue stand now."""
        queue = Queue(self.store.home, jobs)
        return plan(self.work.runs, look(self.store, self.work.runs, self.work.splits, queue))

    def dispatch(self, steps: Sequence[Step], max_array: int) -> Dispatch:
        """Return the array jobs of a plan."""
        history = History(self.store, self.work.contents, self.work.study.resources.ranks)
        return make_arrays(steps, self.work.study.resources, history.seconds, max_array,
                           self.profile.time)

    def submit(self) -> list[Step]:
        """Submit what is missing and return the plan after it.

        Raises:
            CallerError: SLURM does not answer, refuses, or cannot give what a run needs.
        """
        refuse_impossible(self.work.study.resources, self.place, self.profile)
        with submitting(self.store) as lock:
            jobs = read_queue()
            if not jobs.answered:
                raise CallerError(f"profile {self.place}: squeue does not answer, so what is in "
                                  "the queue is not known; nothing was submitted")
            steps = self.steps(jobs)
            if not any(step.action in ("train", "evaluate", "wait", "queued") for step in steps):
                return steps
            made = self.dispatch(steps, max_array_size())
            self._say_left(made)
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
            self.console.print("submitted the report after the jobs that are in the queue")
            return steps
        self.attempts.update(step.run.id for array in made.arrays
                             for job in array.jobs.values() for step in job)
        count = sum(array.runs for array in made.arrays)
        self.console.print(f"submitted {count} runs in {len(ids)} array jobs to {self.place}: "
                           f"{', '.join(ids)}", soft_wrap=True)
        return self.steps()

    def _say_left(self, made: Dispatch) -> None:
        for line in left_lines(made):
            self.console.print(line, markup=False, soft_wrap=True)

    def follow(self) -> list[Step]:
        """Look until nothing is left to wait for; returns the last plan."""
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
                    return steps  # what waits, waits for somebody who is not there
                time.sleep(POLL_SECONDS)

    def _lost(self, steps: Sequence[Step]) -> list[Step]:
        """Return the steps that no job has to do, for some time now."""
        idle = {step.run.id: step for step in steps if step.action in ("train", "evaluate")}
        now = time.monotonic()
        self.idle_since = {key: self.idle_since.get(key, now) for key in idle}
        return [step for key, step in idle.items() if now - self.idle_since[key] > DISK_SECONDS]

    def _give_up_on(self, lost: Sequence[Step]) -> None:
        """Call runs failed that were submitted again and again and never said why they ended."""
        for step in lost:
            if self.attempts[step.run.id] < MAX_ATTEMPTS:
                continue
            folder = self.store.folder(step.run)
            try:
                folder.lease.take()
            except LeaseTaken:  # somebody works on it after all, and says how it goes
                continue
            if not folder.needs_retry and folder.status().state != "done":
                folder.write_status(replace(folder.status(), state="failed", error=(
                    f"its job ended without a word, {MAX_ATTEMPTS} times; the logs are below "
                    f"{self.store.study(self.work.study.study) / 'slurm'}")))
            folder.lease.release()


def left_lines(made: Dispatch) -> list[str]:
    """Return a line for each run that cannot be submitted yet."""
    return [f"left for a later call: {step.run.name}: a process outside SLURM works on its parent"
            for step in made.left]


def refuse_impossible(resources: Resources, place: str, profile: Profile) -> None:
    """Raise a `CallerError` for what no job of a cluster can get.

    That is more GPUs of a node than it has, or a time that is over when the warning comes.
    """
    gpus, most = resources.gpus, profile.gpus_per_node
    if minutes(resources.time) * 60 <= profile.signal_delay:
        raise CallerError(f"resources.time: {resources.time} is not longer than signal_delay of "
                          f"{place}, {profile.signal_delay} s: jobs would leave as they begin")
    if most is not None and gpus > most:
        raise CallerError(f"resources.gpus: {gpus} on one node, and a node of {place} has {most} "
                          f"(gpus_per_node); use more nodes: resources.nodes")
