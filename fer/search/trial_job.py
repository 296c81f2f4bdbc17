"""A trial as a separate SLURM job: submitted like a run of a study, followed through its files.

The job trains on all its ranks, and continues while the search is interrupted.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.cluster.arrays import make_arrays
from fer.cluster.estimate import History
from fer.cluster.limits import max_array_size
from fer.cluster.submit import SCRIPTS, Submitter, submitting
from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.config.search import TrialResources
from fer.config.study import Resources
from fer.search.messages import End, Epoch
from fer.search.scores import lines_of
from fer.search.trial_runs import Trial
from fer.study.inputs import InputDigests
from fer.study.plan import plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import RunFolder, Store
from fer.study.slurm_client import SlurmUnavailable
from fer.study.slurm_jobs import read_queue
from fer.study.slurm_poll import LONGEST_S, SHORTEST_S, shared_queue
from fer.study.snapshot import snapshot

POLL_SECONDS = 1.0
QUEUE_SECONDS = 15.0
GRACE_S = 60.0  # for a network disk to show the last output of an ended job


class JobTrial:
    """Iterator over the epochs of a run that a job trains.

    Args:
        folders: run folders, parents first, the trial's own last.
        leave: a file that exists once save and exit was requested.
        known: number of epochs to skip.
        over: whether the trial ended before and has no job.
    """

    def __init__(self, folders: Sequence[Path], leave: Path, known: int = 0, over: bool = False
                 ) -> None:
        self.folders = [RunFolder(path) for path in folders]
        self.folder = self.folders[-1]
        self._leave, self._reported, self._over = leave, known, over
        self._ended = False
        self._looked = time.monotonic()
        self._gone_since: float | None = None

    def next(self) -> Epoch | End:
        """Wait for the next event and return it."""
        while True:
            trained = self.folder.trained  # read first: then all its lines exist
            lines = lines_of(self.folder.path)
            if len(lines) > self._reported:
                self._reported += 1
                self._ended = trained and self._reported == len(lines)
                return Epoch(lines[self._reported - 1], self._ended)
            if trained:
                return self._end("done")
            if self._over and not self.folder.needs_retry:
                return self._end("stopped")
            if any(folder.needs_retry for folder in self.folders) or self._gone():
                return self._end("failed")
            if self._leave.exists():
                return self._end("left")
            time.sleep(POLL_SECONDS)

    def _end(self, outcome: str) -> End:
        self._ended = True
        return End(outcome)  # type: ignore[arg-type]

    def _gone(self) -> bool:
        """Return whether the run has had no job for a minute, without an error message."""
        if time.monotonic() - self._looked < QUEUE_SECONDS:
            return False
        self._looked = time.monotonic()
        home = self.folder.path.parents[1]
        queue = Queue(home, shared_queue(self._leave.with_name("queue.json")))
        job = queue.job_of(self.folder)
        if not queue.known.answered:
            return False
        if job is not None and job.may_live:
            self._gone_since = None
            return False
        self._gone_since = self._gone_since or time.monotonic()
        return time.monotonic() - self._gone_since > GRACE_S

    def close(self) -> None:
        """Request the job to stop early, unless the run has ended or the search is only exiting."""
        if not (self._ended or self._over or self._leave.exists()):
            self.folder.ask_to_stop()


def wanted_by(trial: TrialResources) -> Resources:
    """Return the resources that the job of one trial requests."""
    return Resources(gpus=max(1, int(trial.gpus)), nodes=trial.nodes, time=trial.time)


@dataclass
class TrialJobs:
    """Submitter of the trials of one search to one cluster.

    Attributes:
        name: name of the search.
        place: name of the profile.
    """

    store: Store
    name: str
    place: str
    profile: Profile
    resources: TrialResources
    contents: InputDigests
    _code: Path | None = None
    _most: int = 0

    def submit(self, trial: Trial, leaving: Callable[[], bool]) -> None:
        """Submit what is missing of a trial, including its parents, to SLURM.

        Waits while SLURM does not respond or a limit on the number of jobs is reached.

        Args:
            leaving: returns whether to stop waiting.

        Raises:
            CallerError: SLURM refused it.
        """
        pause = SHORTEST_S
        while True:
            try:
                if not self._submit(trial):
                    return
            except SlurmUnavailable:
                pass
            until = time.monotonic() + pause
            pause = min(2 * pause, LONGEST_S)
            while time.monotonic() < until:
                if leaving():
                    return
                time.sleep(POLL_SECONDS)

    def _submit(self, trial: Trial) -> bool:
        """Submit what SLURM accepts now; return whether something is left."""
        wanted = wanted_by(self.resources)
        self._most = self._most or max_array_size()
        with submitting(self.store) as lock:
            jobs = read_queue()
            if not jobs.answered:
                return True
            queue = Queue(self.store.home, jobs)
            steps = plan(trial.runs, look(self.store, trial.runs, {}, queue))
            history = History(self.store, self.contents, wanted.ranks)
            made = make_arrays(steps, wanted, history.seconds, self._most, self.profile.time)
            if not made.arrays:
                return False
            self._code = self._code or snapshot(REPOSITORY, self.store.study(self.name) / SCRIPTS)
            submitter = Submitter(self.store, self.name, {}, trial.run.config.data, self.place,
                                  self.profile, self._code, lock, jobs)
            return bool(submitter.submit(made.arrays, report=False).limit)
