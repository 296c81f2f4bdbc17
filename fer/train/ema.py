"""Weight averaging over a phase: exponential moving average (EMA) and SWA.

A checkpoint's model is the average, because that is evaluated and used to initialise other runs.
The trained weights are stored next to it until the phase ends.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from fer.config.recipe import Average
from fer.models.classifier import Classifier

State = dict[str, Tensor]


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
                 epochs: int = 0) -> None:
        """Args:
        model: the bare model that is trained.
        average: the kind of average.
        state: the average, if the phase is resumed; default: the model's weights.
        epochs: number of epochs of the phase already in the average.
        """
        self.model, self.average, self.epochs = model, average, epochs
        self.state = state or copy_state(model)

    def after_step(self) -> None:
        """Update the average after a step."""
        if self.average.how == "ema":
            self._approach(1 - self.average.decay)

    def after_epoch(self) -> None:
        """Update the average after an epoch."""
        if self.average.how == "swa":
            self.epochs += 1
            self._approach(1 / self.epochs)

    def copy(self) -> "AveragedModel":
        """Return an independent copy."""
        state = {key: tensor.clone() for key, tensor in self.state.items()}
        return AveragedModel(self.model, self.average, state, self.epochs)

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
