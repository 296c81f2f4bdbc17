"""Optimisers by name, and the learning rate of a step.

The learning rate is a function of phase, step and plateau state. There is no scheduler object, so
nothing is replayed on resume. Parameter groups carry their own multiplier.
"""

import math
from typing import Any

import torch

from fer.config.recipe import Phase, Schedule
from fer.config.run import Optim, RunConfig, phase_epochs
from fer.train.train_state import Plateau, Progress


def make_optimizer(optim: Optim, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser; the training loop sets the learning rate of every group at each step.

    Weight decay is decoupled in `radam` and `adamw`, as in the study of 2021.
    """
    betas = (optim.betas[0], optim.betas[1])
    if optim.name == "radam":
        return torch.optim.RAdam(groups, lr=optim.lr, betas=betas, decoupled_weight_decay=True)
    if optim.name == "adamw":
        return torch.optim.AdamW(groups, lr=optim.lr, betas=betas)
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum)


def plateau_cost(name: str, score: float) -> float:
    """Return the cost that the plateau schedule monitors, from `train.score` (higher is better)."""
    return -score if name == "loss" else 100.0 * (1.0 - score)


def learning_rate(
    schedule: Schedule, base_lr: float, plateau: Plateau, step: int, steps: int, per_epoch: int
) -> float:
    """Return the learning rate of a step.

    Args:
        step: number of the step within its phase, from 0.
        steps: steps in the whole phase.
        per_epoch: steps in an epoch.
    """
    warmup = round(schedule.warmup_epochs * per_epoch)
    if step < warmup:
        return base_lr * (step + 1) / warmup
    if schedule.name == "plateau":
        return base_lr if plateau.lr is None else plateau.lr
    if schedule.name == "constant":
        cooldown = round(schedule.cooldown_epochs * per_epoch)
        left = min(steps - step, cooldown) / cooldown if cooldown else 1.0
        return schedule.min_lr + (base_lr - schedule.min_lr) * left if cooldown else base_lr
    done = (step - warmup) / max(1, steps - warmup)
    return schedule.min_lr + (base_lr - schedule.min_lr) * 0.5 * (1 + math.cos(math.pi * done))


def schedule_of(config: RunConfig, phase: Phase) -> Schedule:
    """Return the learning-rate schedule of a phase."""
    return phase.schedule or config.schedule


def lr_at(config: RunConfig, progress: Progress, per_epoch: int) -> float:
    """Return the learning rate of the next step, before stage multipliers.

    Args:
        per_epoch: steps in an epoch.
    """
    phase = config.recipe.phases[progress.phase]
    return learning_rate(
        schedule_of(config, phase), config.optim_of(phase).lr, progress.plateau,
        step=progress.phase_epoch * per_epoch + progress.batch,
        steps=phase_epochs(config, phase) * per_epoch, per_epoch=per_epoch)
