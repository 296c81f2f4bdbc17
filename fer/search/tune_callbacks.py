"""Ray Tune callbacks that forward events of trials to the record."""

from collections.abc import Callable
from typing import Any, Protocol

from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial as TuneTrial

from fer.search.ray_searcher import NotKept
from fer.search.trial_record import Key


class Heard(Protocol):
    """Interface of a receiver of trial events."""

    def stand(self, running: set[Key], paused: set[Key]) -> None:
        """Handle the sets of running and paused trials."""

    def heard(self, key: Key, result: dict[str, Any]) -> None:
        """Handle the end of an epoch."""

    def restarted(self, key: Key) -> None:
        """Handle the death of a trial's process, before another one resumes it."""

    def ended(self, key: Key, outcome: str, error: str = "") -> None:
        """Handle the end of a trial."""


class Enough(NotKept, Stopper):
    """Stopper that ends the whole pass when enough trials have run."""

    def __init__(self, enough: Callable[[], bool]) -> None:
        self._enough = enough

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._enough()


class Listener(NotKept, Callback):
    """Callback that forwards Tune's trial events to the record."""

    def __init__(self, tuning: Heard) -> None:
        self._tuning = tuning

    def on_trial_result(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial,
                        result: dict[str, Any], **info: Any) -> None:
        self._tuning.heard(_key_of(trial), result)

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        self._tuning.stand(*({_key_of(trial) for trial in trials if trial.status == status}
                             for status in (TuneTrial.RUNNING, TuneTrial.PAUSED)))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial,
                         **info: Any) -> None:
        self._tuning.restarted(_key_of(trial))

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial,
                          **info: Any) -> None:
        self._tuning.ended(_key_of(trial), trial.last_result.get("outcome", "running"))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial,
                       **info: Any) -> None:
        lines = str(trial.get_error() or "lost").strip().splitlines()
        self._tuning.ended(_key_of(trial), "failed", lines[-1])


def _key_of(trial: TuneTrial) -> Key:
    return trial.config["number"], trial.config["seed"]
