"""One trial that is a SLURM job of its own: followed by its files, an epoch at a time.

The job trains as every job of a study does, on as many ranks as it has. It needs nobody who
follows it, and goes on while the search is away.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from fer.search.messages import End, Epoch
from fer.search.scores import lines_of
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder

POLL_SECONDS = 1.0
QUEUE_SECONDS = 15.0
GRACE_S = 60.0  # for a network disk to show what a job that has ended wrote last


class AsJob:
    """Hands over the epochs of a run that a job trains.

    Args:
        folders: run folders, parents first, the trial's own last.
        leave: a file that is there once the search was asked to leave.
        known: epochs that need not be handed over.
        over: whether the trial ended before, and no job has it to do.
    """

    def __init__(self, folders: Sequence[Path], leave: Path, known: int = 0, over: bool = False
                 ) -> None:
        self.folders = [RunFolder(path) for path in folders]
        self.folder = self.folders[-1]
        self._leave, self._told, self._over = leave, known, over
        self._ended = False
        self._looked = time.monotonic()
        self._gone_since: float | None = None

    def next(self) -> Epoch | End:
        """Return what comes next, when it has come."""
        while True:
            trained = self.folder.trained  # asked first: its lines are all there then
            lines = lines_of(self.folder.path)
            if len(lines) > self._told:
                self._told += 1
                self._ended = trained and self._told == len(lines)
                return Epoch(lines[self._told - 1], self._ended)
            if trained:
                return self._end("done")
            if self._over and not self.folder.gave_up:
                return self._end("stopped")
            if any(folder.gave_up for folder in self.folders) or self._gone():
                return self._end("failed")
            if self._leave.exists():
                return self._end("left")
            time.sleep(POLL_SECONDS)

    def _end(self, outcome: str) -> End:
        self._ended = True
        return End(outcome)  # type: ignore[arg-type]

    def _gone(self) -> bool:
        """Whether no job of the run is left, for a minute, and it has not said why."""
        if time.monotonic() - self._looked < QUEUE_SECONDS:
            return False
        self._looked = time.monotonic()
        queue = Queue(self.folder.path.parents[1])
        job = queue.job_of(self.folder)
        if not queue.known.answered or (job is not None and job.may_live):
            self._gone_since = None
            return False
        self._gone_since = self._gone_since or time.monotonic()
        return time.monotonic() - self._gone_since > GRACE_S

    def close(self) -> None:
        """Have the job stopped early, unless the run has ended or the search only leaves."""
        if not (self._ended or self._over or self._leave.exists()):
            self.folder.ask_to_stop()
