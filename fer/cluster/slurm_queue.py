"""A study on SLURM: submit what is missing, and optionally follow the jobs.

Jobs need no launcher. Following them only resubmits those that ended without an error message.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console

from fer.cluster.arrays import Dispatch, make_arrays
from fer.cluster.cancel import cancel_idle_jobs
from fer.cluster.estimate import History
from fer.cluster.limits import (
    check_partitions,
    max_array_size,
    refuse_impossible,
    report_minutes,
    within_limits,
)
from fer.cluster.request import ExpandedStudy
from fer.cluster.submit import (
    SCRIPTS,
    Submitted,
    Submitter,
    queued_arrays,
    report_is_queued,
    submitting,
)
from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.errors import plural
from fer.study.lease import LeaseTaken
from fer.study.live_table import StudyProgress
from fer.study.plan import UNFINISHED, Action, Step, plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store
from fer.study.slurm_client import SlurmUnavailable
from fer.study.slurm_jobs import read_queue
from fer.study.slurm_poll import QueuePoll
from fer.study.snapshot import snapshot

POLL_SECONDS = 5.0
DISK_SECONDS = 15.0  # delay with which a network disk may show a job's last files
RESUBMIT_S = 60.0  # between two tries if a limit is reached or SLURM does not respond
AFTER_NEWS_S = 15.0  # the same if a run has begun or ended since
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

    def steps(self, queue: Queue | None = None) -> list[Step]:
        """Return the plan for the current state of run folders and queue."""
        return plan(self.work.runs, look(self.store, self.work.runs, self.work.splits, queue))

    def dispatch(self, steps: Sequence[Step], max_array: int, profile: Profile) -> Dispatch:
        """Return the array jobs of a plan."""
        history = History(self.store, self.work.contents, self.work.study.resources.ranks)
        return make_arrays(steps, self.work.study.resources, history.seconds, max_array,
                           profile.time)

    def submit(self) -> Submitted:
        """Submit what is missing.

        Raises:
            CallerError: SLURM refuses, or lacks the resources of a run.
            SlurmUnavailable: SLURM does not respond.
        """
        resources = self.work.study.resources
        refuse_impossible(resources, self.place, self.profile)
        with submitting(self.store) as lock:
            jobs = read_queue()
            if not jobs.answered:
                raise SlurmUnavailable(f"profile {self.place}: squeue does not respond, so the "
                                       "queue is unknown; nothing was submitted")
            steps = self.steps(Queue(self.store.home, jobs))
            if not any(step.action in ("train", "evaluate", "wait", "queued") for step in steps):
                return Submitted()
            others = queued_arrays(steps)
            scripts = self.store.study(self.work.study.study) / SCRIPTS
            partitions = check_partitions(self.place, self.profile, resources.nodes)
            profile = within_limits(self.profile, partitions)
            made = self.dispatch(steps, max_array_size(), profile)
            self._print_left(made)
            if not made.arrays and (not others or report_is_queued(scripts, jobs)):
                return Submitted()
            code = snapshot(REPOSITORY, scripts)
            work = self.work
            submitter = Submitter(self.store, work.study.study, work.splits, work.data, self.place,
                                  profile, code, lock, jobs, report_minutes(profile, partitions))
            sent = submitter.submit(made.arrays, others)
        self.attempts.update(sent.runs)
        self._print_submitted(sent)
        return sent

    def _print_submitted(self, sent: Submitted) -> None:
        if not sent.wanted and not sent.limit:
            line = "submitted the report, to run after the queued jobs"
        elif not sent.limit:
            line = (f"submitted {plural(len(sent.runs), 'run')} in "
                    f"{plural(len(sent.jobs), 'array job')} to {self.place}: "
                    f"{', '.join(sent.jobs)}")
        elif len(sent.runs) < sent.wanted:
            line = (f"{len(sent.runs)} of {plural(sent.wanted, 'run')} are submitted; the same "
                    f"command submits the rest: {sent.limit}")
        else:
            line = (f"submitted {plural(len(sent.runs), 'run')}, but not the report; when they "
                    f"have ended: python launch/report.py {self.work.study.study}: {sent.limit}")
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _print_left(self, made: Dispatch) -> None:
        for line in left_lines(made):
            self.console.print(line, markup=False, soft_wrap=True)

    def follow(self) -> list[Step]:
        """Poll until there is nothing to wait for; return the last plan.

        Run folders are read every few seconds, the queue rarely (`QueuePoll`). What a limit of the
        cluster or a passing error kept back is submitted as soon as possible.
        """
        poll, last_try, limited, news = QueuePoll(self.store.home), 0.0, False, False
        actions: list[Action] = []
        with StudyProgress(self.store, self.console) as progress:
            while True:
                queue = poll.queue()
                steps = self.steps(queue)
                progress.show(steps)
                if not any(step.action in UNFINISHED for step in steps):
                    return steps
                news |= actions != [step.action for step in steps]
                actions = [step.action for step in steps]
                self._end_cancelled(steps, queue)
                known = self.idle_since.keys()
                lost = self._lost(steps) if queue.known.answered else []
                if self.idle_since.keys() - known:  # their jobs may be lost
                    poll.soon()
                pause = (AFTER_NEWS_S if news else RESUBMIT_S) if limited else 0.0
                if lost and time.monotonic() - last_try >= pause:
                    self._give_up_on(lost)
                    limited, last_try, news = self._resubmit(), time.monotonic(), False
                    poll.now()
                if all(step.action in ("wait", "done", "failed", "blocked") for step in steps):
                    return steps  # the remaining runs wait for a process that does not exist
                time.sleep(POLL_SECONDS)

    def _end_cancelled(self, steps: Sequence[Step], queue: Queue) -> None:
        """Cancel the jobs of runs that were requested to stop and do not react."""
        folders = [self.store.folder(step.run) for step in steps if step.action == "running"]
        if asked := [folder for folder in folders if folder.cancel_asked]:
            cancel_idle_jobs(self.store, asked, queue)

    def _resubmit(self) -> bool:
        """Submit what is missing; return whether something had to be left for later."""
        try:
            return bool(self.submit().limit)
        except SlurmUnavailable as error:
            self.console.print(f"{error}; trying again", markup=False, soft_wrap=True)
            return True

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
