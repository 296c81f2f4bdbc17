"""Ray Tune searcher that takes the next configuration from a source.

A proposal is a function of the trial's number and earlier results, and is on disk before it is
trained. So a resumed search proposes the same trials in the same order, and Tune, which has no
state from before, receives their epochs again from the run folders.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from fer.search.searchers import ConfigSource
from fer.search.space import Overrides

Prepare = Callable[[int, Overrides], "dict[str, Any] | None"]


class NotKept:
    """Base of objects that pickle to nothing: Tune pickles its arguments to restore a search, but
    these searches resume from their own record."""

    def __reduce__(self) -> "tuple[type, tuple[()]]":
        return NotKept, ()


class RaySearcher(NotKept, Searcher):
    """Searcher that gives Ray Tune one configuration per trial and forwards its results.

    Args:
        source: source of configurations.
        before: returns the configuration of a number in an earlier start of the search.
        prepare: prepares the trial of a configuration and returns the configuration of `RunTrial`;
            None if it cannot be trained.
        enough: returns whether to start no more trials.
    """

    def __init__(
        self,
        source: ConfigSource,
        before: Callable[[int], Overrides | None],
        prepare: Prepare,
        enough: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._source, self._before, self._prepare, self._enough = source, before, prepare, enough
        self._next = 0
        self._numbers: dict[str, int] = {}
        self._last: dict[str, dict[str, Any]] = {}  # Tune passes none if it ends a paused trial

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, or `FINISHED`."""
        while not self._enough():
            number = self._next
            chosen = self._source.propose(number, self._before(number))
            if chosen is None:
                break
            self._next += 1
            prepared = self._prepare(number, chosen)
            if prepared is not None:
                self._numbers[trial_id] = number
                return prepared
            self._source.end(number, None, stopped=False)
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Forward an epoch's score."""
        self._last[trial_id] = result
        self._source.hear(self._numbers[trial_id], result["epoch"], result["score"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None,
                          error: bool = False) -> None:
        """Forward the end of a trial."""
        result = result or (None if error else self._last.get(trial_id))
        outcome = (result or {}).get("outcome", "failed")
        if outcome == "left":
            return
        failed = error or outcome == "failed"
        score = None if failed or result is None else result["score"]
        self._source.end(self._numbers[trial_id], score, stopped=outcome == "running")

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the search's own record is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing: nothing was saved."""
