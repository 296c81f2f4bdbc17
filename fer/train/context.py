"""The immutable context of one training run: data, model, loss and processes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fer.config.paths import cache, data_root
from fer.config.run import RunConfig, all_epochs
from fer.data.batches import TrainBatches
from fer.data.mask_types import kept_types, type_weights, types_digest, types_of
from fer.data.pixels import Source
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.train.checkpoint import Checkpoints
from fer.train.distributed import Session, seed_torch, synchronised_batch_norm
from fer.train.ema import State
from fer.train.losses import WeightedCrossEntropy, class_weights
from fer.train.run_logger import RunLogger
from fer.transfer.l2sp import start_of

if TYPE_CHECKING:
    from fer.data.masks.atlas import MaskAugmentation


@dataclass(frozen=True)
class TrainContext:
    """Everything a run trains with that does not change; the rest is in a `TrainState`.

    Attributes:
        config: configuration of the run.
        session: the processes that train it.
        train, val: images of the training and validation splits.
        batches: augmented training batches.
        val_labels: int64 (N,).
        model: the bare module, not wrapped in DDP; its weights change.
        loss: with the class weights of the training split.
        start: the reference weights of L2-SP, if a phase uses it.
        checkpoints, logger: where the run is written.
        clean: the unmasked view of each training image, if that is in another set.
        teacher: the teacher for distillation, in eval mode.
        steps_per_epoch: optimiser steps per epoch.
    """

    config: RunConfig
    session: Session
    train: Source
    val: Source
    batches: TrainBatches
    val_labels: NDArray[np.int64]
    model: Classifier
    loss: WeightedCrossEntropy
    start: State
    checkpoints: Checkpoints
    logger: RunLogger
    clean: Source | None
    teacher: Classifier | None
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run without early stopping."""
        combined = self.config.recipe.combine is not None
        return all_epochs(self.config) * (1 if combined else self.steps_per_epoch)


def make_context(
    config: RunConfig, session: Session, train: Source, val: Source, model: Classifier,
    checkpoints: Checkpoints, logger: RunLogger, clean: Source | None = None,
    teacher: Classifier | None = None, max_batches: int | None = None,
) -> TrainContext:
    """Return the context of a run.

    Args:
        model: with the initial weights of the run.
        max_batches: maximum number of batches per epoch, for debugging.
    """
    batches = TrainBatches(
        train, config.seed, config.train.augment, config.train.batch_size, session.rank,
        session.world, mask_augmentation(config, train), config.train.mix,
        sample_weights(config, train))
    weights = class_weights(config.loss, train.class_counts)
    l2sp = any(phase.l2sp for phase in config.recipe.phases)
    return TrainContext(
        config, session, train, val, batches, val.labels_of(np.arange(val.n)), model,
        WeightedCrossEntropy(weights, config.loss.label_smoothing, session.device),
        start_of(model) if l2sp else {},  # before a checkpoint is loaded
        checkpoints, logger, clean, teacher,
        min(batches.steps_per_epoch, max_batches or batches.steps_per_epoch))


def sample_weights(config: RunConfig, source: Source) -> NDArray[np.float32] | None:
    """Return the weight of each training image if the configuration balances mask types.

    Raises:
        CallerError: the types are not in the cache, and those of the data have changed.
    """
    if config.loss.mask_type_weights == "none":
        return None
    samples = source.index().column("sample_id").to_pylist()
    planned = config.inputs.digests.get("mask_types", "") if config.inputs else ""
    types = kept_types(planned, cache(), samples)
    if types is None:
        types = types_of(config.train_sets, config.data, data_root())
        if planned and planned != types_digest(types):
            raise CallerError(f"the pictures of {config.train_on}, or their mask types in "
                              "pictures.csv, have changed since the run was planned: plan it again")
    return type_weights(types, samples)


def mask_augmentation(config: RunConfig, source: Source) -> "MaskAugmentation | None":
    """Return the masks to draw on the images of a source, if configured."""
    masks = config.train.masks
    if masks is None:
        return None
    from fer.data.masks.atlas import MaskAugmentation, ensure_atlas  # slow to import, rarely needed

    return MaskAugmentation(ensure_atlas(masks, source.size, cache()), masks.probability,
                            source.device)


def new_model(config: RunConfig, session: Session) -> tuple[Classifier, str]:
    """Return the run's randomly initialised model on the device, and a log line."""
    seed_torch(config.seed, 0)
    model = build(config.backbone, config.data.classes)
    if config.compute.channels_last:
        model = model.to(memory_format=torch.channels_last)
    distributed, note = synchronised_batch_norm(model, session)
    assert isinstance(distributed, Classifier)
    return distributed.to(session.device), note
