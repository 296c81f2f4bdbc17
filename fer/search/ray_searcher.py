"""Which configuration comes next: what Ray Tune asks, answered from a source.

A proposal is a function of the trial's number and of what was heard before, and each is on disk
before it is trained. So a search that goes on proposes the same trials again, in the same order,
and Tune, which knows nothing of the time before, hears their epochs again from the run folders.
"""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from fer.search.searchers import ConfigSource
from fer.search.space import Overrides

Prepare = Callable[[int, Overrides], "dict[str, Any] | None"]


class NotKept:
    """Tune pickles what it is given, to restore a search from it. This project's searches go on
    from their own record, so nothing of these objects is kept."""

    def __reduce__(self) -> "tuple[type, tuple[()]]":
        return NotKept, ()


class RaySearcher(NotKept, Searcher):
    """Gives Ray Tune one configuration a trial and passes on what it hears.

    Args:
        source: where configurations come from.
        before: the configuration that a number had when the search ran before.
        prepare: makes a trial of a configuration and returns what `RunTrial` gets; None where
            that cannot be trained.
        enough: whether nothing new is to be begun.
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
        self._last: dict[str, dict[str, Any]] = {}  # Tune has none for a paused trial that it ends

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of the next trial, or that there is none."""
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
        """Pass an epoch's score on."""
        self._last[trial_id] = result
        self._source.hear(self._numbers[trial_id], result["epoch"], result["score"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None,
                          error: bool = False) -> None:
        """Pass the end of a trial on."""
        result = result or (None if error else self._last.get(trial_id))
        outcome = (result or {}).get("outcome", "failed")
        if outcome == "left":
            return
        failed = error or outcome == "failed"
        score = None if failed or result is None else result["score"]
        self._source.end(self._numbers[trial_id], score, stopped=outcome == "running")

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the search's own record is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""
