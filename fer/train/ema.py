"""Weight averaging over a phase: exponential moving average (EMA) and SWA.

A checkpoint's model is the average, because that is evaluated and used to initialise other runs.
The trained weights are stored next to it until the phase ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fer.config.recipe import Average
from fer.data.batches import TrainBatches
from fer.models.classifier import Classifier
from fer.train.distributed import Session, average_batch_norm

State = dict[str, Tensor]
MOST_BATCHES = 200


def copy_state(model: Classifier) -> State:
    """Return copies of all weights and buffers."""
    return {key: tensor.detach().clone() for key, tensor in model.net.state_dict().items()}


@torch.no_grad()
def set_state(model: Classifier, state: State) -> None:
    """Overwrite all weights and buffers in place, so optimisers and DDP keep their references."""
    for key, tensor in model.net.state_dict().items():
        tensor.copy_(state[key])


class AveragedModel:
    """The average of a model's weights in one phase."""

    def __init__(self, model: Classifier, average: Average, state: State | None = None,
                 epochs: int = 0, first: int = 0) -> None:
        """Args:
        model: the bare model that is trained.
        average: the kind of average.
        state: the average, if the phase is resumed; default: the model's weights.
        epochs: number of finished epochs of the phase.
        first: of `swa`, the epoch of the phase (from 0) with which the mean begins; before that it
            is the model's weights.
        """
        self.model, self.average, self.epochs, self.first = model, average, epochs, first
        self.state = state or copy_state(model)

    def after_step(self) -> None:
        """Update the average after a step."""
        if self.average.how == "ema":
            self._approach(1 - self.average.decay)

    def after_epoch(self) -> None:
        """Update the average after an epoch."""
        if self.average.how == "swa":
            self.epochs += 1
            self._approach(1 / max(1, self.epochs - self.first))

    @property
    def needs_statistics(self) -> bool:
        """Whether batch-norm statistics have to be recomputed: those of a mean are not its own."""
        return self.average.how == "swa" and not (self.first and self.epochs <= self.first + 1)

    def copy(self) -> "AveragedModel":
        """Return an independent copy."""
        state = {key: tensor.clone() for key, tensor in self.state.items()}
        return AveragedModel(self.model, self.average, state, self.epochs, self.first)

    @torch.no_grad()
    def _approach(self, share: float) -> None:
        """Move the average towards the weights; integer buffers are copied."""
        own = self.model.net.state_dict()
        floats = [key for key, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[key] for key in floats], [own[key] for key in floats],
                             share)
        for key in own.keys() - set(floats):
            self.state[key].copy_(own[key])

    @contextmanager
    def in_place(self, estimate: Callable[[], None] | None = None) -> Iterator[State]:
        """Load the average into the model for the block, and yield the trained weights.

        Args:
            estimate: recomputes the model's batch-norm statistics, which the average then keeps.
        """
        training = copy_state(self.model)
        set_state(self.model, self.state)
        try:
            if estimate is not None:
                estimate()
                self.state = copy_state(self.model)
            yield training
        finally:
            set_state(self.model, training)


def update_batch_norm(model: Classifier, batches: TrainBatches, session: Session,
                      between: Callable[[], object] = lambda: None) -> None:
    """Set the statistics of every trainable batch-norm layer to their mean over batches.

    Uses at most `MOST_BATCHES` batches of the first epoch, independent of the number of ranks. The
    model's mode is restored.

    Args:
        between: called after every batch, by all ranks together; may raise.
    """
    training = model.training
    model.train()  # frozen layers stay in eval mode and keep their statistics
    norms = [layer for layer in model.batch_norms()
             if isinstance(layer, _BatchNorm) and layer.training]
    before = [layer.momentum for layer in norms]
    model.eval()
    if not norms:
        model.train(training)
        return
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
        layer.training = True
    try:
        for step in range(min(batches.steps_per_epoch, MOST_BATCHES)):
            batch = batches.batch(0, step)
            with torch.no_grad(), session.accelerator.autocast():
                if len(batch):
                    model(batch.images)
            between()
    finally:
        for layer, momentum in zip(norms, before, strict=True):
            layer.momentum = momentum
        model.train(training)
    average_batch_norm(model, session)
