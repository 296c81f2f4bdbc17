"""The training state: everything a checkpoint holds besides the model's weights.

The counters are stored as JSON.
"""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fer.config.recipe import Schedule
from fer.untrusted_io import record

if TYPE_CHECKING:
    import torch

    from fer.train.ema import AveragedModel

PLATEAU_THRESHOLD = 1e-4  # relative; the default of torch's ReduceLROnPlateau


@dataclass
class Plateau:
    """State of ReduceLROnPlateau: the learning rate after epochs without progress.

    The monitored value is a cost: 100 * (1 - metric), or the loss.
    """

    best: float | None = None
    bad_epochs: int = 0
    lr: float | None = None

    def update(self, plateau_cost: float, base_lr: float, schedule: Schedule) -> None:
        """Update with the cost of an epoch, as torch does with mode 'min'."""
        lr = base_lr if self.lr is None else self.lr
        if self.best is None or plateau_cost < self.best * (1 - PLATEAU_THRESHOLD):
            self.best, self.bad_epochs = plateau_cost, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > schedule.patience:
            lowered = max(lr * schedule.factor, schedule.min_lr)
            lr = lowered if lr - lowered > 1e-8 else lr
            self.bad_epochs = 0
        self.lr = lr


@dataclass
class Best:
    """The best epoch so far by `train.score`, of which the earlier one wins a tie.

    In `Progress.best`, the epoch whose weights are kept: the last one where `train.select` says so.
    """

    score: float | None = None
    step: int = 0
    epoch: int = 0

    def update(self, score: float, step: int, epoch: int) -> bool:
        """Update with an epoch's score (higher is better); return whether it is the best."""
        if self.score is not None and score <= self.score:
            return False
        self.score, self.step, self.epoch = score, step, epoch
        return True


@dataclass
class Progress:
    """The counters of a training: everything that is neither a weight nor optimiser state.

    `step` counts optimiser steps, `epoch` finished epochs, both over all phases; `batch` counts
    the finished batches of the current epoch, whose losses are in `losses` (a float64 sum).
    """

    step: int = 0
    epoch: int = 0
    phase: int = 0
    phase_epoch: int = 0
    batch: int = 0
    losses: float = 0.0
    epochs_without_better: int = 0
    plateau: Plateau = field(default_factory=Plateau)
    phase_best: Best = field(default_factory=Best)
    best: Best = field(default_factory=Best)
    finished: bool = False

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Progress":
        """Return the progress from its `dataclasses.asdict`; raise a `ValueError` if damaged."""
        inner = {"plateau": Plateau, "best": Best, "phase_best": Best}
        found = record(Progress, {**content, **{
            key: record(kind, content.get(key)) for key, kind in inner.items()}})
        if min(found.step, found.epoch, found.phase, found.phase_epoch, found.batch,
               found.best.step) < 0:
            raise ValueError("a counter below zero")
        return found

    def begin_phase(self, phase: int) -> None:
        """Reset the per-phase counters."""
        self.phase, self.phase_epoch, self.epochs_without_better = phase, 0, 0
        self.plateau, self.phase_best = Plateau(), Best()


@dataclass
class TrainState:
    """Everything a checkpoint holds besides the weights in `TrainContext.model`.

    Attributes:
        progress: the counters.
        optimizer: of the current phase; None between two phases.
        average: of the weights, if the current phase uses one. A checkpoint's model is then the
            average, and the trained weights are stored next to it.
        last_saved: time of the last checkpoint on the monotonic clock.
    """

    progress: Progress = field(default_factory=Progress)
    optimizer: "torch.optim.Optimizer | None" = None
    average: "AveragedModel | None" = None
    last_saved: float = field(default_factory=time.monotonic)
