"""Where configurations come from: a list, or Optuna by what was heard. Without Ray."""

from collections.abc import Iterator
from typing import Protocol

from fer.search.space import Overrides


class Source(Protocol):
    """Where configurations come from."""

    def propose(self, number: int, before: Overrides | None) -> Overrides | None:
        """Return the next configuration, `before` where that number had one; None at the end."""

    def hear(self, number: int, epoch: int, score: float) -> None:
        """Take a trial's score after an epoch into account."""

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        """Take the end of a trial into account; without a score it failed."""


class Listed:
    """Configurations that are known from the start: by chance, of a grid, or of finalists."""

    def __init__(self, configurations: Iterator[Overrides]) -> None:
        self._rest = configurations

    def propose(self, number: int, before: Overrides | None) -> Overrides | None:
        """Return the next one; what was proposed before is the same by its making."""
        return next(self._rest, None)

    def hear(self, number: int, epoch: int, score: float) -> None:
        """Learn nothing."""

    def end(self, number: int, score: float | None, stopped: bool) -> None:
        """Learn nothing."""
