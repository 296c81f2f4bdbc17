"""Watchdog of a job: ends its processes when no step has been made for long.

A rank that waits for ever holds its GPUs until the time limit. The loop polls whether to save and
exit at each step (`Callbacks.stop_requested`); the time between two polls is the age of the last
step. What is too long is learned from the run: `FACTOR` times the longest pause so far, but at
least the floor of the profile (`hang_minutes`), and before the first step `START_FACTOR` times
that, since packs may be built.

The stacks of all threads are written to the log of each rank. `fer.cluster.requeue` decides
whether the job is restarted.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from fer.study.failure import HUNG, mark_hung, marked_hung
from fer.study.run_folder import RunFolder

FACTOR, START_FACTOR = 20.0, 6.0
CANCEL_S = 120.0  # a requested stop that is not noticed for so long
TICKS_TO_FOLLOW = 3  # in which the other ranks write their stacks too


class Watchdog:
    """Poll of a stop request that also tells that the process is alive.

    Time is counted in ticks of a thread: a suspended process does not age.

    Args:
        stop_requested: returns whether to save and exit.
        folders: the runs of this job, one after another.
        floor: seconds without a step that are never too long.
        end: ends the process with an exit code.
    """

    def __init__(self, stop_requested: Callable[[], bool], folders: Sequence[RunFolder],
                 floor: float, end: Callable[[int], object] = os._exit) -> None:
        self._stop_requested, self._folders, self._end = stop_requested, folders, end
        self.floor, self.tick = floor, min(5.0, floor / 4)
        self.longest = self.age = 0.0
        self._steps, self._run = 0, ""

    def __call__(self) -> bool:
        """Note a step; return whether to save and exit."""
        if self._steps:
            self.longest = max(self.longest, self.age)
        self.age, self._steps = 0.0, self._steps + 1
        return self._stop_requested()

    @property
    def allowed(self) -> float:
        """Seconds without a step after which the process hangs."""
        return max(self.floor * (1 if self._steps else START_FACTOR), FACTOR * self.longest)

    def start(self) -> None:
        """Watch from now on, in a thread."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while not self.check():
            time.sleep(self.tick)
            self.age += self.tick

    def check(self) -> bool:
        """End the process if it hangs, if another rank does, or if it ignores a stop request."""
        folder = self._active()
        if folder is None:
            return False
        if folder.name != self._run:
            self._run, self._steps = folder.name, 0
        cancelled = folder.cancel_asked and self.age > min(CANCEL_S, self.allowed)
        if not (cancelled or self.age > self.allowed or marked_hung(folder)):
            return False
        self._write_stacks(f"no step for {self.age:.0f} s")
        mark_hung(folder, f"no step for {self.age:.0f} s (longest pause before: "
                          f"{self.longest:.0f} s)")
        time.sleep(TICKS_TO_FOLLOW * self.tick)
        self._end(HUNG)
        return True

    def _active(self) -> RunFolder | None:
        """Return the run that the job is working on, as far as known."""
        status = ((folder, folder.status()) for folder in self._folders)
        left = [folder for folder, one in status if one.state not in ("done", "failed")]
        return left[0] if left else None

    def _write_stacks(self, why: str) -> None:
        rank = os.environ.get("RANK", "0")
        print(f"hung: rank {rank}: {why}; its threads:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        sys.stderr.flush()


def watched(stop_requested: Callable[[], bool], folders: Sequence[RunFolder]
            ) -> Callable[[], bool]:
    """Return the poll of a stop request, watched if the environment says how long (FER_HANG_S)."""
    floor = float(os.environ.get("FER_HANG_S", "0"))
    if floor <= 0:
        return stop_requested
    dog = Watchdog(stop_requested, folders, floor)
    dog.start()
    return dog
