"""The data of one phase: batches, the module that consumes them, validation.

Usually pictures and the whole model. If only the head is trained on fixed views, the cached
features of the frozen body and the head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from fer.config.paths import cache
from fer.config.recipe import Pair, Phase
from fer.data.batches import Batch
from fer.data.paired_batches import PairedBatches
from fer.data.pixels import Source
from fer.data.test_time_views import FixedViews
from fer.models.classifier import Classifier
from fer.train.context import TrainContext
from fer.train.features import Body, Features, ensure_features
from fer.train.losses import BothViews, Distillation, Objective
from fer.train.predict import head_logits, predict_logits

Between = Callable[[], object]


class Batches(Protocol):
    """A source of batches of any epoch."""

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this rank's share of a global batch."""
        ...


@dataclass(frozen=True)
class PhaseData:
    """Batches, module, objective and validation of one phase.

    Attributes:
        batches: of every epoch.
        module: maps a batch's `images` to logits; contains the trained parameters.
        objective: minimised by each step.
        validate: returns the current model's logits on the validation split, float32 (N, C); its
            argument is called periodically.
    """

    batches: Batches
    module: nn.Module
    objective: Objective
    validate: Callable[[Between], np.ndarray]


class FeatureBatches:
    """Batches of fixed views whose `images` are features, (N, …)."""

    def __init__(self, views: FixedViews, features: Features) -> None:
        self.views, self.features = views, features

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this rank's share of a global batch."""
        indices, views = self.views.turn(epoch, step)
        first, last = self.views.batches.share(len(indices))
        rows = self.features.take(indices[first:last], views[first:last])
        return self.views.batches.labelled(rows, indices, first)


class Head(nn.Module):
    """The head of a model as a separate module: features to logits."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.head = model.head

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, float32 (N, C)."""
        logits: Tensor = self.head(features)
        return logits.flatten(1).float()


def make_phase_data(context: TrainContext, phase: Phase, between: Between) -> PhaseData:
    """Return the data of a phase; compute its features if they are missing.

    Args:
        between: called periodically by all ranks together; may raise.
    """
    plain = Objective(context.loss)
    views = FixedViews(context.batches, phase.views) if phase.views else None
    features = features_of(context, views, between) if views else None
    if views is not None and features is not None:
        train, val = features
        return PhaseData(FeatureBatches(views, train), Head(context.model), plain,
                         lambda between: head_logits(context.session, context.model, val))

    def validate(between: Between) -> np.ndarray:
        size = context.config.train.batch_size
        return predict_logits(context.session, context.model, context.val, size, between)

    if phase.pair is None:
        return PhaseData(views or context.batches, context.model, plain, validate)
    pairs = PairedBatches(context.batches, context.clean)
    return PhaseData(pairs, context.model, _paired(context, phase.pair), validate)


def _paired(context: TrainContext, pair: Pair) -> Objective:
    if pair.how != "distill":
        return BothViews(context.loss, pair)
    teacher = context.teacher
    assert teacher is not None, "recipes with distillation have a teacher"

    def teach(images: Tensor) -> Tensor:
        with context.session.accelerator.autocast():
            logits: Tensor = teacher(images)
            return logits

    return Distillation(context.loss, pair, teach)


def features_of(
    context: TrainContext, views: FixedViews, between: Between
) -> tuple[Features, Features] | None:
    """Return the features of the training pictures in their views and of the validation split.

    Returns None if the head's output is not the logits of the network.
    """
    body = Body(context.model, context.config, context.session)
    train = ensure_features(body, context.train, views.pictures, views.count, cache(), between)
    val = plain_features(body, context.val, between) if train else None
    return (train, val) if train and val else None


def plain_features(body: Body, source: Source, between: Between) -> Features | None:
    """Return the features of a source's pictures without augmentation; see `ensure_features`."""
    def pictures(indices: np.ndarray, view: int) -> Tensor:
        return source.gather(indices).permute(0, 3, 1, 2)

    return ensure_features(body, source, pictures, 1, cache(), between)
