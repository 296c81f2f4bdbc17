"""How often a training loop looks up: at losses, the heartbeat, and whether it is to leave.

On a GPU each look waits for the device, so looks are some steps apart; but a signal must not wait
long, however slow the steps are.
"""

import time
from dataclasses import dataclass, field

import torch

GPU_POLL = 16
LOOK_SECONDS = 2.0  # about the longest time between two looks


def max_sync_interval(device: torch.device) -> int:
    """Return how many steps may go by unseen: on a GPU each look waits for the device."""
    return 1 if device.type == "cpu" else GPU_POLL


@dataclass
class SyncInterval:
    """How many steps go by between two looks: few where steps are slow, as much as `most`.

    Ranks must look at the same steps, so they agree on what is slow.
    """

    most: int
    every: int = 1
    last: float = field(default_factory=time.monotonic)

    @property
    def slow(self) -> bool:
        """Whether twice as many steps would keep a signal waiting for too long."""
        return time.monotonic() - self.last > LOOK_SECONDS / 2

    def next(self, slow: bool) -> None:
        """Choose the next look, as all ranks do."""
        self.every = max(1, self.every // 2) if slow else min(self.most, self.every * 2)
        self.last = time.monotonic()
