"""One trial's run, trained in a thread of this process and returned one epoch at a time.

The training function is that of every run (`fer.train.run_tasks.work`), with the same run folder,
lease and checkpoints, so a trial that is stopped, paused or killed resumes from there.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from fer.search.messages import End, Epoch, mark_stopped
from fer.search.scores import lines_of
from fer.study.run_folder import RunFolder
from fer.train.callbacks import Callbacks, never_stop_early
from fer.train.run_tasks import Task, work

POLL_SECONDS = 1.0
Verdict = Literal["go on", "stop", "leave"]


class ThreadTrial:
    """Training of a run, after its ancestors, in a thread.

    Epochs that were trained before are returned again, since the caller may be new. Between two
    calls of `next` the training waits.

    Args:
        folders: run folders with a configuration, parents first, the trial's own last.
        leave: a file that exists once save and exit was requested.
        known: number of epochs to skip.
    """

    def __init__(self, folders: Sequence[Path], leave: Path, known: int = 0) -> None:
        self.folders = [RunFolder(path) for path in folders]
        self.folder = self.folders[-1]
        self._leave, self._reported = leave, known
        self._leaving, self._looked = False, 0.0
        self._events: SimpleQueue[Epoch | End] = SimpleQueue()
        self._verdicts: SimpleQueue[Verdict] = SimpleQueue()
        self._waits = False
        self._thread: threading.Thread | None = None  # created by the first call of `next`

    def next(self) -> Epoch | End:
        """Wait for the next event and return it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._train, daemon=True)
            self._thread.start()
        self._answer("go on")
        event = self._events.get()
        self._waits = isinstance(event, Epoch) and not event.last
        return event

    def close(self) -> None:
        """Stop the waiting run, and return when its thread has ended."""
        self._answer("leave" if self._leave.exists() else "stop")
        if self._thread is not None:
            self._thread.join()

    def _answer(self, verdict: Verdict) -> None:
        if self._waits:
            self._waits = False
            self._verdicts.put(verdict)

    def _train(self) -> None:
        outcome = "left"
        try:
            outcome = self._work()
        finally:  # the caller always gets an event
            self._events.put(End("left" if outcome in ("left", "stopped") else
                                 "done" if outcome == "done" else "failed"))

    def _work(self) -> str:
        """Train the parents, replay the run's known epochs, and train the rest; return the outcome.
        """
        for parent in self.folders[:-1]:
            outcome = self._work_on(parent)
            if outcome != "done":
                return outcome
        if (verdict := self._replay_known()) != "go on":
            if verdict == "stop":
                mark_stopped(self.folder)
            return "left"
        return self._work_on(self.folder)

    def _work_on(self, folder: RunFolder) -> str:
        own = folder is self.folder
        callbacks = Callbacks(stop_requested=self._exit_requested,
                              after_epoch=self._after_epoch if own else never_stop_early)
        while True:
            (outcome,) = work([Task(folder.path, self._validation(folder) if own else {})],
                              callbacks)
            if outcome in ("taken", "lost"):  # another trial or study trains it: follow its epochs
                if own and (verdict := self._replay_known()) != "go on":
                    return "left" if verdict == "leave" else "stopped"
                if self._exit_requested():
                    return "left"
                time.sleep(POLL_SECONDS)
                continue
            if own and outcome == "done":  # by another process, or a recipe without epochs
                self._replay_known()
            return "left" if outcome == "preempted" else outcome

    @staticmethod
    def _validation(folder: RunFolder) -> dict[str, str]:
        """Return the split to evaluate a run on a fold on: then its predictions are on disk."""
        config = folder.config
        if config.data.folds is None or config.inputs is None:
            return {}
        split = f"{config.train_sets[0]}/val"
        return {split: config.inputs.digests[split]}

    def _replay_known(self) -> Verdict:
        lines, trained = lines_of(self.folder.path), self.folder.trained
        for number, facts in enumerate(lines, 1):
            verdict = self._report(facts, last=trained and number == len(lines))
            if verdict != "go on":
                return verdict
        return "go on"

    def _after_epoch(self, facts: Mapping[str, Any], finished: bool) -> bool:
        return self._report(facts, finished) == "stop"

    def _report(self, facts: Mapping[str, Any], last: bool) -> Verdict:
        """Report an epoch, unless already reported, and wait for the verdict."""
        if facts["epoch"] < self._reported:  # counted from 0
            return "go on"
        self._reported = facts["epoch"] + 1
        self._events.put(Epoch(facts, last))
        if last:
            return "go on"
        verdict = self._verdicts.get()
        self._leaving |= verdict == "leave"
        return verdict

    def _exit_requested(self) -> bool:
        """Return whether to save and exit; the disk is checked once a second."""
        if not self._leaving and time.monotonic() - self._looked > POLL_SECONDS:
            self._looked = time.monotonic()
            self._leaving = self._leave.exists()
        return self._leaving
