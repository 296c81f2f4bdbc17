"""The loss of a step: a global weighted sum divided by the global weight sum.

The mean of the ranks' weighted means does not give the gradient of the global batch (13 % off with
class weights). Every rank knows the labels of the whole global batch, so the weight sum needs no
communication, and any split into ranks and micro-batches gives the same gradient. Losses on paired
views are sums over samples too; they do not contrast samples of the batch.
"""

import contextlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer.config.recipe import Pair
from fer.config.run import Loss
from fer.data.batches import Batch
from fer.train.distributed import Session

Forward = Callable[[torch.Tensor], torch.Tensor]


def class_weights(loss: Loss, counts: Sequence[int]) -> np.ndarray:
    """Return one weight per class (float64, C); `balanced` is N / C / count."""
    if loss.class_weights == "none":
        return np.ones(len(counts))
    if loss.class_weights == "balanced":
        numbers = np.asarray(counts, dtype=np.float64)
        return numbers.sum() / len(numbers) / numbers
    return np.asarray(loss.class_weights, dtype=np.float64)


class WeightedCrossEntropy:
    """Cross-entropy with label smoothing and class weights."""

    def __init__(self, weights: np.ndarray, smoothing: float, device: torch.device) -> None:
        self.host_weights = weights
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=device)
        self.smoothing = smoothing

    def weight_sum(self, labels: np.ndarray) -> float:
        """Return the weight sum of a global batch; `labels` as in `Batch.global_labels`."""
        if labels.ndim == 2:
            return float((labels @ self.host_weights).sum())
        return float(self.host_weights[labels].sum())

    def weights_of(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the samples' weights, float32 (N,)."""
        return labels @ self.weights if labels.ndim == 2 else self.weights[labels]

    def sum(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the samples' losses (a float32 scalar); see `each`."""
        return self.each(logits, labels).sum()

    def each(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the samples' weighted losses, float32 (…, N).

        Args:
            logits: float, (…, N, C), of any number of models.
            labels: int64, N; or float32, N x C, the share of each class in a mixed or individually
                weighted sample: its loss is the sum over the classes of the product of share,
                class weight and cross-entropy.
        """
        if labels.ndim == 2:
            logs = -F.log_softmax(logits.float(), dim=-1)
            smoothed = (1 - self.smoothing) * logs + self.smoothing * logs.mean(-1, keepdim=True)
            return (labels * self.weights * smoothed).sum(-1)
        flat = logits.float().reshape(-1, logits.shape[-1])
        each = F.cross_entropy(flat, labels.repeat(len(flat) // max(1, len(labels))),
                               reduction="none", label_smoothing=self.smoothing)
        return each.view(logits.shape[:-1]) * self.weights_of(labels)


class Objective:
    """The objective of a training step; the base class is the cross-entropy.

    Attributes:
        views: pictures in a forward pass for each sample.
    """

    views = 1

    def __init__(self, loss: WeightedCrossEntropy) -> None:
        self.loss = loss

    def sum(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """Return the weighted sum of the samples' terms (a float32 scalar).

        Args:
            forward: maps pictures to logits of the trained model; must be called once.
            batch: samples of this rank.
        """
        return self.loss.sum(forward(batch.images), batch.labels)


def backward(
    session: Session,
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    micro_batch: int | None = None,
) -> torch.Tensor:
    """Add the gradient of the global batch to the parameters and return this rank's loss share.

    Args:
        batch: this rank's share of the global batch.
        micro_batch: maximum number of pictures in one forward pass; None for no limit.

    Returns:
        this rank's part of the global mean loss (float32 scalar): the sum over ranks is the loss.
    """
    scale = 1.0 / objective.loss.weight_sum(batch.global_labels)
    most = max(1, micro_batch // objective.views) if micro_batch else max(1, len(batch))
    parts = batch.split(most)
    share = torch.zeros((), device=batch.images.device)

    def forward(images: torch.Tensor) -> torch.Tensor:
        with session.accelerator.autocast():
            logits: torch.Tensor = model(images)
            return logits

    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        with contextlib.nullcontext() if last else session.accelerator.no_sync(model):
            term = objective.sum(forward, part) * scale
            session.accelerator.backward(term * session.world)  # DDP divides by the ranks
            share += term.detach()
    return share


class BothViews(Objective):
    """The mean cross-entropy of both views, plus the divergence between their outputs."""

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
    """The cross-entropy of the masked view, plus the divergence from the teacher's outputs."""

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
        logits, target: float (N, C); both are divided by the temperature T first. The factor T²
            keeps the scale of the gradients independent of T (Hinton et al. 2015, section 2).

    Returns:
        float32 (N,).
    """
    own, other = (F.log_softmax(one.float() / temperature, dim=1) for one in (logits, target))
    each = F.kl_div(own, other, reduction="none", log_target=True).sum(1)
    return each * temperature**2
