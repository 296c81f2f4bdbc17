"""Sources of a search's configurations: a list, or Optuna's TPE. Does not import Ray.

TPE: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011. The sampler is reseeded for
each trial, so that a proposal depends on (seed, number, results so far), not on interruptions of
the search.
"""

import json
from collections.abc import Iterator
from typing import Any, Protocol

from fer.config.search import Domain, Search, rounded
from fer.errors import CallerError
from fer.search.space import Overrides, holds

WARM_UP = 10  # random trials before the estimator proposes; Optuna's default


class OptunaSource:
    """Source that proposes configurations from the scores so far.

    Raises:
        CallerError: Optuna is not installed.
    """

    def __init__(self, search: Search) -> None:
        try:
            import optuna
        except ModuleNotFoundError:
            raise CallerError('searcher: optuna is not installed; pip install -e ".[optuna]", or '
                              "set searcher=random") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna
        self._search = search
        self._study = optuna.create_study(
            direction="maximize" if search.higher_is_better else "minimize")
        self._trials: dict[int, Any] = {}

    def propose(self, number: int, before: Overrides | None) -> Overrides | None:
        """Return the estimator's next configuration, or the earlier one of that number."""
        seed = self._search.seed * 1_000_003 + number
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=seed % 2**32, n_startup_trials=WARM_UP, constant_liar=True)
        if before is not None:
            self._study.enqueue_trial({key: self._written(key, value)
                                       for key, value in before.items()})
        trial = self._trials[number] = self._study.ask()
        chosen: Overrides = {}
        for key, domain in self._search.ordered.items():
            if holds(domain, chosen):
                chosen[key] = _suggest(trial, key, domain)
        return chosen

    def hear(self, number: int, epoch: int, score: float) -> None:
        """Take a trial's score after an epoch into account."""
        self._trials[number].report(score, epoch)

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        """Take the end of a trial into account; without a score it failed."""
        states = self._optuna.trial.TrialState
        trial = self._trials.pop(number)
        if score is None:
            self._study.tell(trial, state=states.FAIL)
        elif stopped:
            self._study.tell(trial, state=states.PRUNED)
        else:
            self._study.tell(trial, score)

    def _written(self, key: str, value: Any) -> Any:
        """Return a value in Optuna's representation."""
        return json.dumps(value) if self._search.space[key].choice is not None else value


def _suggest(trial: Any, key: str, domain: Domain) -> Any:
    if domain.choice is not None:
        return json.loads(trial.suggest_categorical(
            key, [json.dumps(value) for value in domain.choice]))
    assert domain.range is not None
    low, high = domain.range
    if domain.integer is not None:
        return trial.suggest_int(key, low, high, step=int(domain.step or 1), log=domain.log)
    return rounded(trial.suggest_float(key, low, high, step=domain.step,
                                       log=domain.loguniform is not None))


class ConfigSource(Protocol):
    """Interface of a source of configurations."""

    def propose(self, number: int, before: Overrides | None) -> Overrides | None:
        """Return the next configuration, or `before` if that number had one; None at the end."""

    def hear(self, number: int, epoch: int, score: float) -> None:
        """Take a trial's score after an epoch into account."""

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        """Take the end of a trial into account; without a score it failed."""


class ListSource:
    """Source of configurations known in advance: random, of a grid, or of finalists."""

    def __init__(self, configurations: Iterator[Overrides]) -> None:
        self._rest = configurations

    def propose(self, number: int, before: Overrides | None) -> Overrides | None:
        """Return the next configuration; the list is the same in every start."""
        return next(self._rest, None)

    def hear(self, number: int, epoch: int, score: float) -> None:
        """Learn nothing."""

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        """Learn nothing."""
