"""What a step on paired views minimises, so that a mask changes less of what a model sees.

Every term is a sum over samples, weighted as their cross-entropy is: the same gradient whatever the
ranks and micro-batches. So there is no contrast with other samples of the batch here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fer.config.recipe import Pair
from fer.data.batches import Batch
from fer.train.losses import Forward, Objective, WeightedCrossEntropy


class BothViews(Objective):
    """The mean cross-entropy of both views, and how far apart their outputs are."""

    views = 2

    def __init__(self, loss: WeightedCrossEntropy, pair: Pair) -> None:
        super().__init__(loss)
        self.pair = pair

    def sum(self, forward: Forward, batch: Batch) -> Tensor:
        """Return the weighted sum of the samples' terms; both views are one forward pass."""
        assert batch.second is not None
        masked, clean = forward(torch.cat([batch.images, batch.second])).chunk(2)
        both = self.loss.each(torch.stack([masked, clean]), batch.labels).mean(0)
        if self.pair.how == "joint":
            return both.sum()
        apart = (divergence(masked, clean, self.pair.temperature)
                 + divergence(clean, masked, self.pair.temperature)) / 2
        return (both + self.pair.weight * apart * self.loss.weights_of(batch.labels)).sum()


class Distillation(Objective):
    """The cross-entropy of the masked view, and how far its outputs are from the teacher's."""

    def __init__(self, loss: WeightedCrossEntropy, pair: Pair, teacher: Forward) -> None:
        super().__init__(loss)
        self.pair, self.teacher = pair, teacher

    def sum(self, forward: Forward, batch: Batch) -> Tensor:
        """Return the weighted sum of the samples' terms; the teacher sees the unmasked view."""
        assert batch.second is not None
        logits = forward(batch.images)
        with torch.no_grad():
            taught = self.teacher(batch.second)
        apart = divergence(logits, taught, self.pair.temperature)
        each = self.loss.each(logits, batch.labels)
        return (each + self.pair.weight * apart * self.loss.weights_of(batch.labels)).sum()


def divergence(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return T² times the Kullback-Leibler divergence from the target's probabilities, in nats.

    Args:
        logits, target: float (N, C); both are divided by the temperature T first. The square keeps
            gradients of one size whatever T is (Hinton et al. 2015, section 2).

    Returns:
        float32 (N,).
    """
    own, other = (F.log_softmax(one.float() / temperature, dim=1) for one in (logits, target))
    each = F.kl_div(own, other, reduction="none", log_target=True).sum(1)
    return each * temperature**2
