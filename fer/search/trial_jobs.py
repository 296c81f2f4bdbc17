"""Trials that are SLURM jobs of their own: submitted as the runs of a study are, one at a time."""

from dataclasses import dataclass
from pathlib import Path

from fer.cluster.arrays import make_arrays
from fer.cluster.submit import SCRIPTS, Submitter, max_array_size, submitting
from fer.cluster.time_estimate import History
from fer.config.paths import REPOSITORY
from fer.config.profile import Profile
from fer.config.search import TrialResources
from fer.config.study import Resources
from fer.search.trial_runs import Trial
from fer.study.inputs import Contents
from fer.study.plan import plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store
from fer.study.slurm_jobs import read_queue
from fer.study.snapshot import snapshot


def wanted_by(trial: TrialResources) -> Resources:
    """Return what the job of one trial asks for."""
    return Resources(gpus=max(1, int(trial.gpus)), nodes=trial.nodes, time=trial.time)


@dataclass
class TrialJobs:
    """Submits trials of one search to one cluster.

    Attributes:
        name: of the search. place: the profile's name.
    """

    store: Store
    name: str
    place: str
    profile: Profile
    resources: TrialResources
    contents: Contents
    _code: Path | None = None
    _most: int = 0

    def submit(self, trial: Trial) -> None:
        """Send what is missing of a trial, its parents too, to SLURM.

        Raises:
            CallerError: SLURM refused it.
        """
        wanted = wanted_by(self.resources)
        self._most = self._most or max_array_size()
        with submitting(self.store) as lock:
            queue = Queue(self.store.home, read_queue())
            steps = plan(trial.runs, look(self.store, trial.runs, {}, queue))
            history = History(self.store, self.contents, wanted.ranks)
            made = make_arrays(steps, wanted, history.seconds, self._most, self.profile.time)
            if not made.arrays:
                return
            self._code = self._code or snapshot(REPOSITORY, self.store.study(self.name) / SCRIPTS)
            Submitter(self.store, self.name, {}, trial.run.config.data, self.place, self.profile,
                      self._code, lock).submit(made.arrays, report=False)
