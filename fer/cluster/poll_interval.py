"""When a queue on this machine looks at its study again: at once where there is news, else seldom.

What it sees is `fer.study.queue_view`; what follows from it is `fer.cluster.local_queue`.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fer.study.expand import Run
from fer.study.plan import Action, RunState, Step, plan
from fer.study.queue_view import Queue, look
from fer.study.run_folder import Store

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds between two looks that show the same
GROWTH = 1.5
LOOK_SHARE = 0.005  # of a core that looking may take while nothing changes
QUEUE_SECONDS = 15.0  # between two questions to SLURM


class PollInterval:
    """The plan of a study, made anew as seldom as serves.

    Args:
        store: where the run folders are.
        runs: all runs of the study, parents first.
        splits: `{split: digest}` to evaluate every wanted run on.
    """

    def __init__(self, store: Store, runs: Sequence[Run], splits: Mapping[str, str]) -> None:
        self.store, self.runs, self.splits = store, runs, splits
        self._queue, self._asked = Queue(store.home), time.monotonic()
        self._finished: dict[str, tuple[str, RunState]] = {}  # by run id, with the folder's name
        self._news: list[tuple[int, bool]] = []
        self._seen: list[tuple[Action, str]] = []
        self._pause, self._next = SHORTEST_PAUSE, 0.0

    def due(self, mine: Iterable[Run]) -> bool:
        """Say whether it is time to look.

        Args:
            mine: runs that jobs of this launcher have; one that begins or ends is news.
        """
        news = [_signs(self.store.folder(run).path) for run in mine
                if run.id not in self._finished]
        changed, self._news = news != self._news, news
        return changed or time.monotonic() >= self._next

    def look(self) -> list[Step]:
        """Return the plan as everything stands now. What was finished is not read again."""
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
        """Return SLURM's queue, asked seldom: some runs may have been sent there."""
        if time.monotonic() - self._asked > QUEUE_SECONDS:
            self._queue, self._asked = Queue(self.store.home), time.monotonic()
        return self._queue


def _signs(folder: Path) -> tuple[int, bool]:
    """Return what changes when somebody takes or frees a run's lease, or has trained the run."""
    try:
        return (folder / "lease").stat().st_mtime_ns, (folder / "train.json").exists()
    except FileNotFoundError:
        return 0, False
