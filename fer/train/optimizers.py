"""Optimisers by name, over parameter groups that carry their own learning-rate multiplier."""

from typing import Any

import torch

from fer.config.run import Optim


def make_optimizer(optim: Optim, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimiser; the loop sets the learning rate of every group at every step.

    Weight decay is decoupled in `radam` and `adamw`, as in the study of 2021.
    """
    betas = (optim.betas[0], optim.betas[1])
    if optim.name == "radam":
        return torch.optim.RAdam(groups, lr=optim.lr, betas=betas, decoupled_weight_decay=True)
    if optim.name == "adamw":
        return torch.optim.AdamW(groups, lr=optim.lr, betas=betas)
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum)
