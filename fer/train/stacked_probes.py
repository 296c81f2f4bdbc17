"""Joint training of many linear probes that differ in learning rate, weight decay and seed.

They share the features of one frozen body. Heads of one seed see the same batches, so one step of
all heads is a single matrix product. Each result equals that of training alone, up to rounding.
Grouping of runs and their folders are in `fer.train.probe_runs`.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer.config.run import RunConfig
from fer.data.test_time_views import FixedViews
from fer.evaluate.metrics import validation_scores
from fer.models.classifier import Classifier
from fer.train.distributed import Session, seed_torch
from fer.train.early_stopping import end_epoch, epoch_facts, selection_score
from fer.train.features import Features
from fer.train.losses import WeightedCrossEntropy
from fer.train.optim import lr_at, make_optimizer
from fer.train.train_state import Progress
from fer.transfer.phases import param_groups


@dataclass
class Probe:
    """One head: its run's configuration, its progress, and its weights after some epochs.

    Attributes:
        weights: of the best and the last epoch, by step.
        stood: the progress at those steps.
        dropped: no longer trained here; its run is trained alone afterwards.
    """

    config: RunConfig
    progress: Progress = field(default_factory=Progress)
    weights: dict[int, list[Tensor]] = field(default_factory=dict)
    stood: dict[int, Progress] = field(default_factory=dict)
    dropped: bool = False

    @property
    def over(self) -> bool:
        """Whether it is no longer trained."""
        return self.progress.finished or self.dropped

    def keep(self, weights: list[Tensor]) -> None:
        """Store the weights of the epoch that just ended, and keep those of the best one."""
        step = self.progress.step
        self.weights[step] = [tensor.clone() for tensor in weights]
        self.stood[step] = copy.deepcopy(self.progress)
        for old in self.weights.keys() - {step, self.progress.best.step}:
            del self.weights[old], self.stood[old]


@dataclass(frozen=True)
class ProbeEpoch:
    """The result of one epoch of one probe: the line of `metrics.jsonl` and validation logits."""

    probe: Probe
    facts: dict[str, float | str]
    logits: np.ndarray


def class_layer(model: Classifier) -> nn.Linear | nn.Conv2d | None:
    """Return the class layer of a head that is a linear layer after dropout; None otherwise."""
    layers = list(model.head) if isinstance(model.head, nn.Sequential) else [model.head]
    *before, last = layers
    if not all(type(layer) is nn.Dropout for layer in before):
        return None
    pointwise = isinstance(last, nn.Conv2d) and last.kernel_size == (1, 1) and last.groups == 1
    return last if isinstance(last, nn.Linear) or pointwise else None  # type: ignore[return-value]


class StackedHeads:
    """The heads of several probes of one seed, stacked: weights (P, C, D) and biases (P, C)."""

    def __init__(self, model: Classifier, probes: Sequence[Probe]) -> None:
        """Args:
        model: on the device, with the initial head of all probes.
        probes: whose optimisers differ only in learning rate and weight decay.
        """
        layer = class_layer(model)
        assert layer is not None, "only linear heads can be stacked"
        count, phase = len(probes), probes[0].config.recipe.phases[0]
        self.dropouts = [layer.p for layer in model.head.modules() if type(layer) is nn.Dropout]
        self.shapes = [parameter.shape for parameter in layer.parameters()]
        self.stacks = [parameter.detach().flatten(1 if parameter.ndim > 1 else 0)
                       .repeat(count, *[1] * min(parameter.ndim, 2)).clone()
                       .view(count, parameter.shape[0], -1).requires_grad_()
                       for parameter in layer.parameters()]
        self._steps = [torch.zeros_like(stack) for stack in self.stacks]  # at rate 1, no decay
        own = probes[0].config.optim_of(phase)
        optim = own.model_copy(update={"lr": 1.0, "weight_decay": 0.0})
        self._decoupled = optim.name != "sgd"  # torch's adds the decay to the gradient
        self._optimizer = make_optimizer(optim, [{"params": self._steps, "weight_decay": 0.0}])
        self._terms = []
        for parameter in layer.parameters():
            found = [next((group["lr_multiplier"], group["weight_decay"])
                          for group in param_groups(model, phase, probe.config.optim_of(phase))
                          if any(parameter is one for one in group["params"])) for probe in probes]
            self._terms.append(torch.tensor(found, dtype=torch.float64).T)

    @property
    def multiplier(self) -> float:
        """The learning-rate multiplier of the last parameter group."""
        return float(self._terms[-1][0, 0])

    def logits(self, rows: Tensor) -> Tensor:
        """Return logits (P, N, C), float32, of features (N, D)."""
        weight, *bias = self.stacks
        count, classes, width = weight.shape
        flat = F.linear(rows, weight.view(-1, width), bias[0].view(-1) if bias else None)
        return flat.float().view(len(rows), count, classes).transpose(0, 1)

    def dropped(self, rows: Tensor) -> Tensor:
        """Return features after the head's dropout, drawn from torch's current generator."""
        for share in self.dropouts:
            rows = F.dropout(rows, share, training=True)
        return rows

    def step(self, losses: Tensor, rates: list[float], clip_norm: float | None) -> None:
        """Update every head by the gradient of its own loss.

        Args:
            losses: (P,), each a function of its own head only.
            rates: P learning rates; 0 leaves a head unchanged.
            clip_norm: maximum gradient norm per head.
        """
        gradients = torch.autograd.grad(losses.sum(), self.stacks)
        if clip_norm is not None:
            squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
            short = (clip_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)  # as torch clips
            gradients = tuple(g * short[:, None, None] for g in gradients)
        for step, stack, gradient, (_, decays) in zip(
                self._steps, self.stacks, gradients, self._terms, strict=True):
            step.zero_()
            decay = 0.0 if self._decoupled else decays.to(stack).view(-1, 1, 1) * stack.detach()
            step.grad = gradient + decay
        self._optimizer.step()
        base = torch.tensor(rates, dtype=torch.float64)
        with torch.no_grad():
            for stack, step, (multipliers, decays) in zip(
                    self.stacks, self._steps, self._terms, strict=True):
                lr = base * multipliers
                if self._decoupled:
                    stack.mul_((1 - lr * decays).to(stack).view(-1, 1, 1))
                stack.add_(step * lr.to(stack).view(-1, 1, 1))

    def weights(self, number: int) -> list[Tensor]:
        """Return the parameters of one head in the shapes of the layer."""
        return [stack.detach()[number].reshape(shape)
                for stack, shape in zip(self.stacks, self.shapes, strict=True)]


@dataclass(frozen=True)
class ProbeData:
    """The training and validation data of the probes of one seed.

    Attributes:
        views: determine the order of the batches.
        train, val: features of the training pictures in their views, and of validation.
        val_labels: int64 (N,).
        loss: with the class weights of the training split.
        session: of one process.
    """

    views: FixedViews
    train: Features
    val: Features
    val_labels: np.ndarray
    loss: WeightedCrossEntropy
    session: Session

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return self.views.batches.steps_per_epoch


def train_probes(probes: Sequence[Probe], model: Classifier,
                 bench: ProbeData) -> Iterator[ProbeEpoch]:
    """Train the probes of one seed; yield one record per epoch and probe.

    A probe with a non-finite loss is marked as dropped and yields no more records. The caller may
    mark probes as dropped too.

    Args:
        probes: differ only in learning rate and weight decay.
        model: with the initial head of their seed.
    """
    heads = StackedHeads(model, probes)
    val = bench.val.take(np.arange(bench.val.shape[1])).flatten(1)
    epoch = 0
    while not all(probe.over for probe in probes):
        lrs = _epoch(probes, heads, bench, epoch)
        with torch.no_grad(), bench.session.accelerator.autocast():
            logits = heads.logits(val).cpu().numpy()
        for number, probe in enumerate(probes):
            if not probe.over:
                yield _end_epoch(probe, heads.weights(number), logits[number], lrs[number], bench)
        epoch += 1


def _epoch(probes: Sequence[Probe], heads: StackedHeads, bench: ProbeData,
           epoch: int) -> list[float]:
    """Run the steps of an epoch; return each probe's last learning rate."""
    config, sums = probes[0].config, torch.zeros(len(probes), dtype=torch.float64)
    clip_norm = config.optim_of(config.recipe.phases[0]).clip_norm
    lrs: list[float] = []
    for number in range(bench.per_epoch):
        indices, kinds = bench.views.turn(epoch, number)
        labels = bench.views.batches.labels_of(indices)
        seed_torch(config.seed, epoch * bench.per_epoch + number, 0, 1)
        rows = heads.dropped(bench.train.take(indices, kinds)).flatten(1)
        with bench.session.accelerator.autocast():
            logits = heads.logits(rows)
        losses = bench.loss.each(logits, torch.from_numpy(labels).to(logits.device)).sum(1)
        losses = losses / bench.loss.weight_sum(labels)
        lrs = [0.0 if probe.over else lr_at(probe.config, probe.progress, bench.per_epoch)
               for probe in probes]
        heads.step(losses, lrs, clip_norm)
        sums += losses.detach().double().cpu()
        for probe in probes:
            if not probe.over:
                probe.progress.step += 1
                probe.progress.batch += 1
    for probe, value in zip(probes, sums.tolist(), strict=True):
        probe.dropped |= not np.isfinite(value)
        probe.progress.losses = value
    multiplier = float(heads.multiplier)
    return [lr * multiplier for lr in lrs]


def _end_epoch(probe: Probe, weights: list[Tensor], logits: np.ndarray, lr: float,
               bench: ProbeData) -> ProbeEpoch:
    config, progress = probe.config, probe.progress
    scores = validation_scores(bench.val_labels, logits)
    phase = config.recipe.phases[0].name
    facts = epoch_facts(progress, phase, bench.per_epoch, lr, scores)
    end_epoch(config, progress, selection_score(config, scores))
    probe.keep(weights)
    return ProbeEpoch(probe, facts, logits)
