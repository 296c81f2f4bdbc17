"""The training loop against a bare one: same batches, model, loss, clipping and optimiser.

The bare loop is a hand-written loop for one process. Ours adds Accelerate, the learning rate and
the seed of every step, the check of the loss, the heartbeat and the sum of losses. Both end with
the same weights, bit for bit, which is asserted.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timing import Comparison, side_by_side  # first: it pins the threads

from fer.config.load import load_run
from fer.config.run import RunConfig
from fer.data.batches import TrainBatches
from fer.data.layout import scan
from fer.data.pack_builder import build_pack
from fer.data.pixels import Source
from fer.models.classifier import Classifier
from fer.study.run_folder import RunFolder
from fer.train.callbacks import Callbacks
from fer.train.checkpoint import Checkpoints
from fer.train.context import make_context, new_model
from fer.train.distributed import Session, open_session
from fer.train.optim import make_optimizer
from fer.train.phase_data import make_phase_data
from fer.train.run_logger import RunLogger
from fer.train.train_state import TrainState
from fer.train.trainer import train_epoch
from fer.transfer.phases import param_groups

PICTURES = 480
ROUNDS, QUICK_ROUNDS = 15, 1


def made_source(folder: Path, size: int, classes: tuple[str, ...]) -> Source:
    """Return random images as a source; their content does not affect the time of a step."""
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        path = folder / "train" / classes[number % 3] / f"Person_{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    pictures = scan("made", folder, classes)["train"]
    return Source([build_pack(pictures, classes, size, folder / "pack", "0" * 32, workers=1)])


class Ours:
    """Epochs of the trainer's loop."""

    def __init__(self, config: RunConfig, session: Session, source: Source, folder: Path,
                 model: Classifier) -> None:
        phase = config.recipe.phases[0]
        RunFolder(folder).lease.take()  # the heartbeat checks that the lease is still held
        self.context = make_context(
            config, session, source, source, model, Checkpoints(folder / "checkpoints", 2),
            RunLogger(RunFolder(folder), config, writes=True))
        self.state = TrainState(optimizer=make_optimizer(
            config.optim, param_groups(model, phase, config.optim)))
        self.data = make_phase_data(self.context, phase, lambda: None)
        self.model = session.wrap(self.data.module)

    def epoch(self) -> None:
        """Train one epoch, without validation and checkpoint."""
        self.state.progress.batch = 0
        train_epoch(self.context, self.state, Callbacks(), self.data, self.model)
        self.state.progress.epoch += 1


class Bare:
    """Epochs of a bare loop."""

    def __init__(self, config: RunConfig, source: Source, model: Classifier) -> None:
        self.config, self.model, self.number = config, model, 0
        self.batches = TrainBatches(source, config.seed, config.train.augment,
                                    config.train.batch_size)
        groups = param_groups(model, config.recipe.phases[0], config.optim)
        self.optimizer = make_optimizer(config.optim, groups)
        self.parameters = [p for group in groups for p in group["params"]]

    def epoch(self) -> None:
        """Train one epoch."""
        self.model.train()
        for batch in self.batches.epoch(self.number):
            logits = self.model(batch.images)
            each = F.cross_entropy(logits, batch.labels, reduction="none",
                                   label_smoothing=self.config.loss.label_smoothing)
            (each.sum() * (1.0 / len(batch))).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.optim.clip_norm or 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self.number += 1


def measure(quick: bool = False) -> list[Comparison]:
    """Return the overhead per step for the demo's models and batch size."""
    comparisons = []
    for backbone in ("resmasking_tiny", "cbam_tiny")[: 1 if quick else 2]:
        config = load_run("configs/drawn.yaml", {
            "backbone": backbone, "schedule.name": "constant", "schedule.warmup_epochs": 0,
            "loss.class_weights": "none", "keep.every_minutes": 1000})
        with tempfile.TemporaryDirectory() as place, open_session(config.compute) as session:
            folder = Path(place)
            source = made_source(folder / "made", config.backbone.input_size, config.data.classes)
            model, _ = new_model(config, session)
            ours = Ours(config, session, source, folder, copy.deepcopy(model))
            bare = Bare(config, source, copy.deepcopy(model))
            comparisons.append(side_by_side(f"training loop, {backbone}, batch 48 (per epoch)",
                                            ours.epoch, bare.epoch,
                                            QUICK_ROUNDS if quick else ROUNDS, 1.10))
            for own, peer in zip(ours.context.model.state_dict().values(),
                                 bare.model.state_dict().values(), strict=True):
                assert torch.equal(own, peer), "the two loops end with different weights"
    return comparisons
