"""Callbacks of the training loop, and how often the ranks synchronise to check for stop requests.

On a GPU each check synchronises with the device, so checks are several steps apart. A signal must
still be handled quickly, even if the steps are slow.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fer.study.run_records import Status

MAX_GPU_STEPS = 16
SYNC_SECONDS = 2.0  # approximate upper bound on the time between two checks

OnStatus = Callable[[Status], None]


def never() -> bool:
    """Return False: no stop is ever requested."""
    return False


def never_stop_early(facts: Mapping[str, Any], finished: bool) -> bool:
    """Return False: training is not stopped early."""
    return False


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of one training run.

    Attributes:
        on_status: receives each new status.
        after_epoch: receives each epoch's record once it is saved, and whether the epoch was the
            last; returns whether to stop the run there, as a search does.
        stop_requested: returns whether to save and exit; polled, so it must be fast.
    """

    on_status: OnStatus | None = None
    after_epoch: Callable[[Mapping[str, Any], bool], bool] = never_stop_early
    stop_requested: Callable[[], bool] = never


NO_CALLBACKS = Callbacks()


def max_sync_interval(device: torch.device) -> int:
    """Return the maximum number of steps between two checks: each one synchronises the GPU."""
    return 1 if device.type == "cpu" else MAX_GPU_STEPS


@dataclass
class SyncInterval:
    """Number of steps between two checks: small if steps are slow, at most `most`.

    All ranks must check at the same steps, so they agree on whether steps are slow.
    """

    most: int
    every: int = 1
    last: float = field(default_factory=time.monotonic)

    @property
    def slow(self) -> bool:
        """Whether doubling the interval would delay a signal too long."""
        return time.monotonic() - self.last > SYNC_SECONDS / 2

    def next(self, slow: bool) -> None:
        """Set the next interval; every rank passes the same value."""
        self.every = max(1, self.every // 2) if slow else min(self.most, self.every * 2)
        self.last = time.monotonic()
