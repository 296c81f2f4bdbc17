"""One pass of Ray Tune over the trials of a search: proposals in, a record on disk out."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import TuneConfig, Tuner

from fer.config.search import Search
from fer.config.selection import compared_by
from fer.errors import CallerError
from fer.search.exit_request import ExitRequest
from fer.search.messages import LEAVE, mark_stopped
from fer.search.options import TrialSlots
from fer.search.ray_searcher import RaySearcher
from fer.search.schedulers import largest_bracket, scheduler_of
from fer.search.searchers import ConfigSource
from fer.search.space import Overrides
from fer.search.trainable import RunTrial, most_cores
from fer.search.trial_job import TrialJobs
from fer.search.trial_record import ENDED, Entry, Key, Record
from fer.search.trial_runs import TrialFactory
from fer.search.trial_tensorboard import forget_trial, link, trial_folder, write_trial
from fer.search.tune_callbacks import Enough, Listener
from fer.study.job_environment import restart_of_process
from fer.study.run_folder import RunFolder, Store

# a search does not resume from Tune's own state, so its warnings about a full disk are noise
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
LOOK_S = 5.0  # between two checks that Ray is alive
INFRASTRUCTURE_RETRIES = 3  # after the loss of a node or process, not after a failed run


@dataclass
class SearchRunner:
    """Inputs and state of one pass.

    Attributes:
        folder: folder of the search.
        show: called with the record as it changes.
        jobs: submits each trial as a separate job; None trains it in a Ray process.
        asked: returns whether save and exit was requested before this began.
        exit: the request that the trials save and exit.
    """

    search: Search
    maker: TrialFactory
    store: Store
    folder: Path
    record: Record
    slots: TrialSlots
    show: Callable[[Record], None]
    jobs: TrialJobs | None = None
    asked: Callable[[], bool] = lambda: False
    _shown: float = 0.0
    _keys: Sequence[Key] = ()
    _own: dict[Key, list[RunFolder]] = field(default_factory=dict)  # of each trial, one a fold
    _active: set[Key] = field(default_factory=set)  # with a process
    _looked: float = 0.0
    _lost: bool = False

    def __post_init__(self) -> None:
        self.exit = ExitRequest(self.folder / LEAVE)

    def spent(self) -> bool:
        """Return whether the budget in epochs or GPU-hours is used up."""
        budget, mine = self.search.budget, self.record.searched
        return ((budget.epochs is not None
                 and sum(len(entry.curve) for entry in mine) >= budget.epochs)
                or (budget.gpu_hours is not None
                    and self.slots.gpu_hours(mine) >= budget.gpu_hours))

    def go(self, source: ConfigSource, most: int, epochs: int,
           finalists: Sequence[Key] = ()) -> None:
        """Run trials from `source` until it ends, the budget is spent or an exit is requested.

        Args:
            most: maximum number of trials.
            epochs: maximum number of epochs per trial.
            finalists: keys of the trials if they are finalists, which are never stopped early.
        """
        final = bool(finalists)
        self._keys = finalists
        self._active.clear()
        self.exit.file.unlink(missing_ok=True)
        # private to this process: a driver whose node was lost may still run, and removes its own
        states = self.folder / f"ray-{restart_of_process()}-{os.getpid()}"

        def enough() -> bool:
            return self.exit.requested or (not final and self.spent())

        proposals = RaySearcher(source, self._before, self.prepare, enough)
        # paused trials count towards Tune's own limit, so there the cores limit concurrency
        waits = self.search.scheduler.name == "hyperband" and not final
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = (
            str(largest_bracket(epochs, self.search.scheduler.reduction)) if waits else "auto")
        cpus = most_cores(self.slots) if waits else self.slots.cpus
        tuner = Tuner(
            tune.with_resources(RunTrial, {"cpu": cpus, "gpu": self.slots.gpus}),
            tune_config=TuneConfig(
                metric="score", mode="max" if self.search.higher_is_better else "min",
                search_alg=proposals, num_samples=most, reuse_actors=True,
                max_concurrent_trials=None if waits else self.slots.most or None,
                scheduler=None if final else scheduler_of(self.search.scheduler, epochs)),
            run_config=tune.RunConfig(
                name="trials", storage_path=str(states), verbose=0,
                stop=Enough(lambda: self.record.lost or self._ray_is_lost()
                            or (enough() and self.exit.answered(self._active))),
                failure_config=tune.FailureConfig(max_failures=INFRASTRUCTURE_RETRIES),
                callbacks=[Listener(self)]))
        for left in self.folder.glob("ray-*"):
            shutil.rmtree(left, ignore_errors=True)
        try:
            with self.exit.by_signals(self.asked()):
                tuner.fit()
                self.record.publish()
                if self.record.lost:
                    raise CallerError(f"search {self.search.search} was taken over by another "
                                      "driver, because this one's node was lost; nothing more is "
                                      "written")
                if self._lost:
                    raise CallerError(f"search {self.search.search}: Ray has died; run the same "
                                      "command to resume from the trials' checkpoints")
                if not self.exit.requested:
                    self._settle()
        finally:
            shutil.rmtree(states, ignore_errors=True)
            self.record.publish()
            self.show(self.record)

    def _settle(self) -> None:
        """Record the end of trials that Tune ended without a callback: on an exhausted budget, or
        with a process that had no further trials."""
        for entry in list(self.record):
            if entry.state not in ENDED and entry.run and (entry.seed, self._keys) == (None, ()):
                if not entry.curve:  # the budget was spent before its first epoch ended
                    self._forget(entry)
                    continue
                entry = self.record.change(entry.key, state="stopped")
            if entry.state != "stopped":
                continue
            folder = RunFolder(self.store.runs / entry.run)
            if self.jobs is None:
                for own in self._own.get(entry.key, [folder]):
                    if own.path == folder.path or own.status().begun:
                        mark_stopped(own)
            elif folder.status().state not in ("stopped", "done"):
                folder.ask_to_stop()
            place = trial_folder(self.folder, entry.number, entry.seed)
            if entry.curve and not place.is_dir():
                write_trial(place, entry.params, self.search.metric, entry.curve)

    def _forget(self, entry: Entry) -> None:
        """Remove a trial without epochs from record and TensorBoard, and stop its job."""
        if self.jobs is not None:
            RunFolder(self.store.runs / entry.run).ask_to_stop()
        forget_trial(self.folder, entry.number, entry.run)
        self.record.drop(entry.key)

    def _key(self, number: int) -> Key:
        return self._keys[number] if self._keys else (number, None)

    def prepare(self, number: int, params: Overrides) -> dict[str, Any] | None:
        """Write a trial's run folders and its record; return the configuration of `RunTrial`.

        `number` is the index among the proposals of this pass.
        """
        number, seed = self._key(number)
        before = self.record.get((number, seed))
        try:
            trial = self.maker.trial(number, params, seed)
            if before and before.run_id not in ("", trial.run.id):
                before = None  # other images or another base: its scores are from another run
        except CallerError as error:
            self.record.put(Entry(number, params, seed=seed, state="failed", error=str(error)))
            return None
        folders = trial.register(self.store, self.search.search)
        own = [folders[line[-1].id] for line in trial.folds]
        self._own[number, seed] = own
        if before and before.state not in ENDED:
            before = replace(before, state="waiting")
        entry = replace(before or Entry(number, params), run=own[0].name, run_id=trial.run.id,
                        config_id=trial.run.config_id, epochs=trial.epochs, error="")
        self.record.put(entry)
        for folder in own:
            link(self.folder, folder.path)
        if self.jobs is not None and entry.state not in ENDED:
            self.jobs.submit(trial, self.exit.file.exists)
        return {"number": number, "seed": seed, "params": params, "folder": str(self.folder),
                "runs": [[str(folders[run.id].path) for run in line] for line in trial.folds],
                "metric": self.search.metric,
                "job": self.jobs is not None, "over": entry.state in ENDED,
                **compared_by(trial.run.config)}

    def _before(self, number: int) -> Overrides | None:
        return entry.params if (entry := self.record.get(self._key(number))) else None

    def heard(self, key: Key, result: dict[str, Any]) -> None:
        """Record a trial's result after an epoch."""
        entry = self.record.get(key)
        assert entry is not None
        seconds = sum(folder.status().seconds for folder in self._own[key])
        if result["epoch"] == len(entry.curve) + 1:  # otherwise already recorded
            curve = [*entry.curve, result["score"]]
            entry = self.record.change(key, state="running", curve=curve, score=curve[-1])
        self.record.change(key, seconds=seconds, where=result["where"])
        self._publish()

    def ended(self, key: Key, outcome: str, error: str = "") -> None:
        """Record how a trial ended; one that saved and exited on request has not."""
        self._active.discard(key)
        if outcome == "left" or (self.exit.requested and outcome == "running"):
            return
        state = {"running": "stopped", "stopped": "stopped", "done": "done"}.get(outcome, "failed")
        entry = self.record.get(key)
        assert entry is not None
        if state == "stopped" and not entry.curve:
            return  # ended with the whole search: see `_settle`
        if state == "failed" and not error:
            error = self._error_of(entry)
        self.record.change(key, publish=True, state=state, error=error)
        self._publish(now=True)

    def _error_of(self, entry: Entry) -> str:
        """Return the error of the first failed run of a trial."""
        runs = self.maker.trial(entry.number, entry.params, entry.seed).runs
        errors = [self.store.folder(run).status().error for run in runs]
        return next((error for error in errors if error), "")

    def stand(self, running: set[Key], paused: set[Key]) -> None:
        """Record which trials are running, and which are paused."""
        self._active, changed = running, False
        for key in running | paused:
            entry = self.record.get(key)
            state = "running" if key in running else "waiting"
            if entry is not None and entry.state not in (*ENDED, state):
                self.record.change(key, state=state)
                changed = True
        if changed:
            self._publish(now=True)

    def restarted(self, key: Key) -> None:
        """Free the runs of a trial whose process died, so that another process can resume it."""
        entry = self.record.get(key)
        assert entry is not None
        for run in self.maker.trial(entry.number, entry.params, entry.seed).runs:
            self.store.folder(run).lease.free_after_death()

    def _ray_is_lost(self) -> bool:
        """Return whether no Ray node is alive: Tune itself would wait forever."""
        if not self._lost and time.monotonic() - self._looked > LOOK_S:
            self._looked = time.monotonic()
            self._lost = not any(node["Alive"] for node in ray.nodes())
        return self._lost

    def _publish(self, now: bool = False) -> None:
        if now or time.monotonic() - self._shown > 1.0:
            self._shown = time.monotonic()
            self.record.publish()
            self.show(self.record)

