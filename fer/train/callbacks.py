"""What a training reports to whoever started it, what it asks them, and how often.

On a GPU each question waits for the device, so questions are some steps apart; but a signal must
not wait long, however slow the steps are.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fer.study.run_folder import Status

MAX_GPU_STEPS = 16
SYNC_SECONDS = 2.0  # about the longest time between two questions

OnStatus = Callable[[Status], None]


def never() -> bool:
    """Return False: nobody asks this process to stop."""
    return False


def never_stop_early(facts: Mapping[str, Any], finished: bool) -> bool:
    """Return False: training is not stopped early."""
    return False


@dataclass(frozen=True)
class Callbacks:
    """What a training calls.

    Attributes:
        on_status: gets each new status.
        after_epoch: gets each epoch's record once it is saved, and whether it was the last one;
            returns whether to stop the run there, as a search does.
        stop_requested: returns whether this process is to save and exit; polled, so it must be
            quick.
    """

    on_status: OnStatus | None = None
    after_epoch: Callable[[Mapping[str, Any], bool], bool] = never_stop_early
    stop_requested: Callable[[], bool] = never


NO_CALLBACKS = Callbacks()


def max_sync_interval(device: torch.device) -> int:
    """Return the most steps between two questions: on a GPU each waits for the device."""
    return 1 if device.type == "cpu" else MAX_GPU_STEPS


@dataclass
class SyncInterval:
    """Steps between two questions: few where steps are slow, up to `most`.

    Ranks must ask at the same steps, so they agree on what is slow.
    """

    most: int
    every: int = 1
    last: float = field(default_factory=time.monotonic)

    @property
    def slow(self) -> bool:
        """Whether twice as many steps would keep a signal waiting for too long."""
        return time.monotonic() - self.last > SYNC_SECONDS / 2

    def next(self, slow: bool) -> None:
        """Choose the next interval, as all ranks do."""
        self.every = max(1, self.every // 2) if slow else min(self.most, self.every * 2)
        self.last = time.monotonic()
