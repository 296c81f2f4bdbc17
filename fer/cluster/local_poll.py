"""Polling of a study by a local queue: at once after a change, otherwise rarely.

`fer.study.queue_view` reads the state; `fer.cluster.local_queue` acts on it.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fer.study.expand import Run
from fer.study.plan import Action, RunState, Step, plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between two polls without a change
GROWTH = 1.5
LOOK_SHARE = 0.005  # share of a core that polling may use while nothing changes
QUEUE_SECONDS = 15.0  # between two queries of SLURM


class PollInterval:
    """Plan of a study, updated as rarely as possible.

    Args:
        store: the run folders.
        runs: all runs of the study, parents first.
        splits: `{split: digest}` on which to evaluate every wanted run.
    """

    def __init__(self, store: Store, runs: Sequence[Run], splits: Mapping[str, str]) -> None:
        self.store, self.runs, self.splits = store, runs, splits
        self._queue, self._asked = Queue(store.home), time.monotonic()
        self._finished: dict[str, tuple[str, RunState]] = {}  # by run id, with the folder's name
        self._news: list[tuple[int, bool]] = []
        self._seen: list[tuple[Action, str]] = []
        self._pause, self._next = SHORTEST_PAUSE, 0.0

    def due(self, mine: Iterable[Run]) -> bool:
        """Return whether it is time to poll.

        Args:
            mine: runs in jobs of this launcher; the start or end of one is a change.
        """
        news = [_signs(self.store.folder(run).path) for run in mine
                if run.id not in self._finished]
        changed, self._news = news != self._news, news
        return changed or time.monotonic() >= self._next

    def look(self) -> list[Step]:
        """Return the current plan; finished runs are not read again."""
        begun = time.monotonic()
        names = self.store.names
        self._finished = {key: known for key, known in self._finished.items()
                          if known[0] in names}
        unfinished = [run for run in self.runs if run.id not in self._finished]
        found = look(self.store, unfinished, self.splits, self._slurm())
        self._finished |= {run.id: (self.store.folder(run).name, found[run.id])
                           for run in unfinished
                           if found[run.id].trained and not found[run.id].missing}
        steps = plan(self.runs, found | {key: known for key, (_, known) in self._finished.items()})
        seen = [(step.action, step.job) for step in steps]
        self._pause = SHORTEST_PAUSE if seen != self._seen else self._pause * GROWTH
        self._seen = seen
        took = time.monotonic() - begun
        self._next = begun + took + max(min(self._pause, LONGEST_PAUSE), took / LOOK_SHARE)
        return steps

    def _slurm(self) -> Queue:
        """Return SLURM's queue, queried rarely, since some runs may have been submitted there."""
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            self._queue, self._asked = Queue(self.store.home), time.monotonic()
        return self._queue


def _signs(folder: Path) -> tuple[int, bool]:
    """Return values that change when a run's lease is taken or freed, or the run is trained."""
    try:
        return (folder / "lease").stat().st_mtime_ns, (folder / "train.json").exists()
    except FileNotFoundError:
        return 0, False
