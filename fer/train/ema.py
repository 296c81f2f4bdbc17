"""Means of weights over the course of a phase, beside the weights that train.

A checkpoint's model is the mean, because that is what is measured and what others start from; the
weights that train lie beside it while there is something left to train.
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
    """Overwrite all weights and buffers in place, so that optimisers and DDP keep theirs."""
    for key, tensor in model.net.state_dict().items():
        tensor.copy_(state[key])


class AveragedModel:
    """The mean of a model's weights in one phase."""

    def __init__(self, model: Classifier, average: Average, state: State | None = None,
                 epochs: int = 0) -> None:
        """Args:
        model: that trains, not wrapped.
        average: how the mean is taken.
        state: of the mean, where the phase goes on; else it begins with the model's weights.
        epochs: of the phase that are in the mean already.
        """
        self.model, self.average, self.epochs = model, average, epochs
        self.state = state or copy_state(model)

    def after_step(self) -> None:
        """Take the weights after a step into the mean."""
        if self.average.how == "ema":
            self._approach(1 - self.average.decay)

    def after_epoch(self) -> None:
        """Take the weights at the end of an epoch into the mean."""
        if self.average.how == "swa":
            self.epochs += 1
            self._approach(1 / self.epochs)

    def copy(self) -> "AveragedModel":
        """Return a mean that stands where this one does."""
        state = {key: tensor.clone() for key, tensor in self.state.items()}
        return AveragedModel(self.model, self.average, state, self.epochs)

    @torch.no_grad()
    def _approach(self, share: float) -> None:
        """Move the mean towards the weights; what is counted, not measured, is taken over."""
        own = self.model.net.state_dict()
        floats = [key for key, tensor in own.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[key] for key in floats], [own[key] for key in floats],
                             share)
        for key in own.keys() - set(floats):
            self.state[key].copy_(own[key])

    @contextmanager
    def in_place(self, estimate: Callable[[], None] | None = None) -> Iterator[State]:
        """Put the mean in the model's place while the block lasts, and yield what trains.

        Args:
            estimate: estimates batch-norm statistics of the model anew, which the mean then keeps.
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
