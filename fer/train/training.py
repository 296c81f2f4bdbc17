"""What one run trains with: sources, model, loss, batches; how it trains is `fer.train.trainer`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
from fer.train.ema import AveragedModel
from fer.train.losses import WeightedCrossEntropy, class_weights
from fer.train.run_logger import RunLogger
from fer.train.train_state import Progress
from fer.transfer.l2sp import start_of

if TYPE_CHECKING:
    from fer.data.masks.atlas import MaskAugmentation


def never() -> bool:
    """Say that nobody asked this process to stop."""
    return False


def go_on(facts: Mapping[str, Any], finished: bool) -> bool:
    """Say that training is not stopped early."""
    return False


@dataclass
class Training:
    """What one run trains with: fixed for the run, beside the `Progress`, which moves.

    `stop` says whether somebody asked this process to save and leave; it is polled. `after_epoch`
    is told each epoch's line once it is saved, and whether it was the last one, and says whether a
    search stops the run there. `clean` has the
    unmasked view of each picture where that is in another set, and `teacher` is what a student
    learns from, in eval mode. `mean` is that of the weights, where the running phase takes one.
    """

    config: RunConfig
    session: Session
    train: Source
    val: Source
    checkpoints: Checkpoints
    journal: RunLogger
    model: Classifier
    progress: Progress = field(default_factory=Progress)
    limit_batches: int | None = None
    stop: Callable[[], bool] = never
    after_epoch: Callable[[Mapping[str, Any], bool], bool] = go_on
    clean: Source | None = None
    teacher: Classifier | None = None
    mean: AveragedModel | None = None
    last_saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        config, session = self.config, self.session
        self.batches = TrainBatches(
            self.train, config.seed, config.train.augment, config.train.batch_size,
            session.rank, session.world, _masks(config, self.train), config.train.mix,
            sample_weights(config, self.train))
        self.val_labels = self.val.labels_of(np.arange(self.val.n))
        weights = class_weights(config.loss, self.train.class_counts)
        self.loss = WeightedCrossEntropy(weights, config.loss.label_smoothing, session.device)
        held = any(phase.l2sp for phase in config.recipe.phases)
        self.start = start_of(self.model) if held else {}  # before a checkpoint is loaded

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in an epoch."""
        return min(self.batches.steps_per_epoch, self.limit_batches or 2**31)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run if nothing stops early."""
        combined = self.config.recipe.combine is not None
        return all_epochs(self.config) * (1 if combined else self.steps_per_epoch)


def sample_weights(config: RunConfig, source: Source) -> NDArray[np.float32] | None:
    """Return what each training picture weighs, where the configuration balances mask types.

    Raises:
        CallerError: the types are not in the cache, and those of the data are others by now.
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
                              "pictures.csv, are not those that the run was planned with: plan it "
                              "anew")
    return type_weights(types, samples)


def _masks(config: RunConfig, source: Source) -> "MaskAugmentation | None":
    """Return what lays masks over training pictures, where the configuration asks for it."""
    masks = config.train.masks
    if masks is None:
        return None
    from fer.data.masks.atlas import MaskAugmentation, ensure_atlas  # most runs start without

    return MaskAugmentation(ensure_atlas(masks, source.size, cache()), masks.probability,
                            source.device)


def new_model(config: RunConfig, session: Session) -> tuple[Classifier, str]:
    """Return the run's model with random weights of its seed, on the device, and a log line."""
    seed_torch(config.seed, 0)
    model = build(config.backbone, config.data.classes)
    if config.compute.channels_last:
        model = model.to(memory_format=torch.channels_last)
    distributed, note = synchronised_batch_norm(model, session)
    assert isinstance(distributed, Classifier)
    return distributed.to(session.device), note
