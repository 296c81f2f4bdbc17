"""What trains in a phase of a recipe, and how fast.

Not for how long or on which schedule: that is `fer.engine`. Nothing here imports torch when the
module is loaded, so that recipes can be checked on a login node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fer.errors import CallerError

if TYPE_CHECKING:
    from fer.config.schema import Optim, Phase, Recipe
    from fer.models.classifier import Classifier


@dataclass(frozen=True)
class StageRow:
    """One stage in one phase, for a table.

    Attributes:
        stage: its name.
        parameters: how many numbers it holds that could be trained.
        trained: whether they are.
        lr: base learning rate of the stage, before any schedule; 0 where it is frozen.
        batch_norms: how many batch-norm layers it has.
        statistics_move: whether their running statistics change.
    """

    stage: str
    parameters: int
    trained: bool
    lr: float
    batch_norms: int
    statistics_move: bool


def check_recipe(recipe: Recipe, stages: Sequence[str]) -> None:
    """Raise a CallerError where the recipe names a stage that the backbone lacks.

    Also where a phase trains nothing, names a stage twice, or gives a multiplier to a stage it
    freezes.
    """
    for phase in recipe.phases:
        place = f"recipe '{recipe.name}', phase '{phase.name}'"
        named = [] if phase.train == "all" else phase.train
        for key, found in (("train", named), ("multipliers", phase.multipliers)):
            for stage in found:
                if stage not in stages:
                    raise CallerError(f"{place}: {key} names no stage '{stage}'; this backbone "
                                      f"has, from input to output: {', '.join(stages)}")
        if phase.train != "all" and not named:
            raise CallerError(f"{place}: train is empty; name stages, or write 'all'")
        if len(set(named)) != len(named):
            raise CallerError(f"{place}: train names a stage twice: {', '.join(named)}")
        for stage in phase.multipliers:
            if stage not in trained_stages(phase, stages):
                raise CallerError(f"{place}: a multiplier for stage '{stage}', which is frozen; "
                                  f"trained are: {', '.join(named)}")


def trained_stages(phase: Phase, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages that train in `phase`, from input to output."""
    return tuple(stage for stage in stages if phase.train == "all" or stage in phase.train)


def param_groups(model: Classifier, phase: Phase, optim: Optim) -> list[dict[str, Any]]:
    """Return optimiser groups for the trained stages, from input to output; nothing is changed.

    Each group has `params`, `lr_multiplier` (on the run's learning rate), `weight_decay` and
    `name`: the stage, with `/no_decay` for biases and norms where those are not decayed.
    """
    groups = []
    for stage in trained_stages(phase, tuple(model.stages)):
        parameters = [parameter for _, parameter in model.stage_parameters(stage)]
        decayed = [p for p in parameters if optim.decay_norms_and_biases or not _is_vector(p)]
        spared = [p for p in parameters if not optim.decay_norms_and_biases and _is_vector(p)]
        for name, params, decay in (
            (stage, decayed, optim.weight_decay),
            (f"{stage}/no_decay", spared, 0.0),
        ):
            if params:
                groups.append({
                    "params": params,
                    "lr_multiplier": phase.multipliers.get(stage, 1.0),
                    "weight_decay": decay,
                    "name": name,
                })
    return groups


def freeze(model: Classifier, phase: Phase) -> None:
    """Make exactly the phase's stages trainable; it holds through `train()`, copies and DDP.

    Call it before wrapping in DDP, which looks at `requires_grad` once. A frozen stage keeps its
    parameters, its batch-norm statistics and its dropout still.
    """
    trained = trained_stages(phase, tuple(model.stages))
    model.freeze(set(model.stages).difference(trained), batch_norm=phase.batch_norm == "frozen")


def describe_phase(model: Classifier, phase: Phase, lr: float) -> list[StageRow]:
    """Return one row a stage: what trains, how many parameters, at which rate.

    Args:
        model: its stages are described; nothing is changed.
        phase: says what trains.
        lr: the phase's base learning rate.
    """
    trained = trained_stages(phase, tuple(model.stages))
    rows = []
    for stage in model.stages:
        trains = stage in trained
        norms = len(model.batch_norms(stage))
        rows.append(StageRow(
            stage=stage,
            parameters=sum(parameter.numel() for _, parameter in model.stage_parameters(stage)),
            trained=trains,
            lr=lr * phase.multipliers.get(stage, 1.0) if trains else 0.0,
            batch_norms=norms,
            statistics_move=trains and norms > 0 and phase.batch_norm == "train",
        ))
    return rows


def _is_vector(parameter: Any) -> bool:
    return bool(parameter.ndim <= 1)  # biases, and the weights of norm layers
