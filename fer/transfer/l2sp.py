"""L2-SP: weights are held near the ones that the run started from (Li et al., ICML 2018).

Decoupled from the gradient, as the weight decay here is: after each step a weight moves towards its
start by rate x strength of the way. The head has no start worth keeping and is left alone; decay
to zero is off where this is on (`fer.transfer.phases.param_groups`).
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
    """What holds the trained weights of one phase."""

    def __init__(self, model: Classifier, phase: Phase, start: Mapping[str, Tensor]) -> None:
        """Args:
        model: that trains, not wrapped.
        phase: whose `l2sp` says how strongly; without one nothing is held.
        start: what `start_of` gave before anything was trained.
        """
        self.strength = phase.l2sp or 0.0
        names = {id(parameter): name for stage in model.stages
                 for name, parameter in model.stage_parameters(stage)}
        self._start = {key: start[name] for key, name in names.items() if name in start}

    @torch.no_grad()
    def pull(self, groups: list[dict[str, Any]]) -> None:
        """Move the weights of an optimiser's groups towards their start, after its step."""
        if not self.strength:
            return
        for group in groups:
            held = [parameter for parameter in group["params"] if id(parameter) in self._start]
            if held:
                starts = [self._start[id(parameter)] for parameter in held]
                torch._foreach_lerp_(held, starts, group["lr"] * self.strength)
