"""L2-SP: regularisation towards the initial weights of a run (Li et al., ICML 2018).

Decoupled from the gradient, like the weight decay here: after each step a weight moves towards its
initial value by the fraction learning rate x strength. The head has no pretrained initial weights
and is excluded; weight decay is off for regularised weights (`fer.transfer.phases.param_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fer.config.recipe import Phase
from fer.models.classifier import Classifier


def start_of(model: Classifier) -> dict[str, Tensor]:
    """Return a copy of the body's parameters by name, on their device."""
    return {name: parameter.detach().clone() for stage in model.stages if stage != "head"
            for name, parameter in model.stage_parameters(stage)}


class Anchor:
    """The L2-SP regularisation of one phase."""

    def __init__(self, model: Classifier, phase: Phase, start: Mapping[str, Tensor]) -> None:
        """Args:
        model: the bare model that is trained.
        phase: its `l2sp` is the strength; without it nothing is done.
        start: result of `start_of` before training.
        """
        self.strength = phase.l2sp or 0.0
        names = {id(parameter): name for stage in model.stages
                 for name, parameter in model.stage_parameters(stage)}
        self._start = {key: start[name] for key, name in names.items() if name in start}

    @torch.no_grad()
    def pull(self, groups: list[dict[str, Any]]) -> None:
        """Move the weights of an optimiser's groups towards their initial values after its step."""
        if not self.strength:
            return
        for group in groups:
            held = [parameter for parameter in group["params"] if id(parameter) in self._start]
            if held:
                starts = [self._start[id(parameter)] for parameter in held]
                torch._foreach_lerp_(held, starts, group["lr"] * self.strength)
