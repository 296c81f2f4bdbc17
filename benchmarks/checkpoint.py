"""Durable checkpoints compared with torch.save of the same tensors.

Ours is on disk when it returns: files fsynced, listed with checksums, renamed. `torch.save` alone
returns while the data are still in memory; it is measured both alone and followed by an fsync.
"""

import os
import tempfile
from pathlib import Path

import torch
from timing import Comparison, side_by_side  # first: it pins the threads

from fer.config.load import load_run
from fer.config.paths import home
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.train.checkpoint import Checkpoints
from fer.train.optim import make_optimizer
from fer.train.train_state import Progress
from fer.transfer.phases import param_groups

ROUNDS, QUICK_ROUNDS = 9, 1


def trained_once(backbone: str) -> tuple[Classifier, torch.optim.Optimizer]:
    """Return a model and an AdamW optimiser with initialised state (from artificial gradients)."""
    config = load_run("configs/drawn.yaml", {"backbone": backbone, "recipe": "scratch"})
    model = build(config.backbone, config.data.classes)
    groups = param_groups(model, config.recipe.phases[0], config.optim)
    optimizer = make_optimizer(config.optim, groups)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizer.step()
    return model, optimizer


def torch_save(path: Path, model: Classifier, optimizer: torch.optim.Optimizer, sync: bool) -> None:
    """Save like most training scripts."""
    with open(path, "wb") as handle:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, handle)
        if sync:
            handle.flush()
            os.fsync(handle.fileno())


def measure(quick: bool = False) -> list[Comparison]:
    """Return the time of a checkpoint of cbam_resnet50 with AdamW, about 310 MB."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    model, optimizer = trained_once("cbam_tiny" if quick else "cbam_resnet50")
    name = "cbam_tiny" if quick else "cbam_resnet50, 312 MB"
    home().mkdir(parents=True, exist_ok=True)
    comparisons = []
    with tempfile.TemporaryDirectory(dir=home()) as place:  # the disk that runs are written to
        folder, step = Path(place), [0]
        checkpoints = Checkpoints(folder / "checkpoints", keep=2)

        def ours() -> None:
            step[0] += 1
            checkpoints.save(Progress(step=step[0]), model, optimizer)

        for sync, target in ((True, 1.2), (False, None)):
            how = "torch.save + fsync" if sync else "torch.save alone, not on disk"
            comparisons.append(side_by_side(
                f"checkpoint, {name}, against {how}", ours,
                lambda sync=sync: torch_save(folder / "peer.pt", model, optimizer, sync),
                rounds, target))
    return comparisons
