"""The trained parameters and learning rates of each phase of a recipe.

Durations and schedules are in `fer.train`. Loading this module imports no torch, so recipes can
be checked on a login node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fer.config.recipe import Phase, Span
from fer.errors import CallerError

if TYPE_CHECKING:
    from torch.nn import Parameter

    from fer.config.recipe import Phase, Recipe
    from fer.config.run import Optim
    from fer.models.classifier import Classifier


@dataclass(frozen=True)
class StageRow:
    """One stage in one phase, for a table.

    Attributes:
        stage: its name.
        parameters: number of parameters.
        trained: number of trained parameters.
        lr: base learning rate of the stage, before any schedule; 0 if frozen; of the last block
            where blocks differ.
        batch_norms: number of batch-norm layers.
        statistics_move: whether their running statistics are updated.
    """

    stage: str
    parameters: int
    trained: int
    lr: float
    batch_norms: int
    statistics_move: bool


def check_recipe(recipe: Recipe, stages: Sequence[str], layers: int = 0) -> None:
    """Raise a CallerError if the recipe names a stage that the backbone does not have.

    Also if a phase trains nothing, names a stage twice, has a multiplier for a frozen stage, or
    counts blocks that there are not.

    Args:
        layers: number of the backbone's layers, `Classifier.layers`; 0 if it names no blocks.
    """
    for phase in recipe.phases:
        place = f"recipe '{recipe.name}', phase '{phase.name}'"
        named = phase.train if isinstance(phase.train, list) else []
        _check_span(phase, stages, place)
        _check_blocks(phase, layers, place)
        for key, found in (("train", named), ("multipliers", phase.multipliers)):
            for stage in found:
                if stage not in stages:
                    raise CallerError(f"{place}: {key} has an unknown stage '{stage}'; this "
                                      "backbone has, from input to output: "
                                      f"{', '.join(stages)}")
        if phase.train == []:
            raise CallerError(f"{place}: train is empty; name stages, or write 'all'")
        if len(set(named)) != len(named):
            raise CallerError(f"{place}: train names a stage twice: {', '.join(named)}")
        for stage in phase.multipliers:
            if stage not in trained_stages(phase, stages):
                raise CallerError(f"{place}: multiplier for stage '{stage}', which is frozen; "
                                  f"trained are: {', '.join(trained_stages(phase, stages))}")


def _check_span(phase: Phase, stages: Sequence[str], place: str) -> None:
    if isinstance(phase.train, Span) and phase.train.last_blocks is None:
        count, body = phase.train.first or phase.train.last or 0, _body(stages)
        if count > len(body):
            raise CallerError(f"{place}: trains {count} stages, but this backbone has {len(body)} "
                              f"before the head: {', '.join(body)}")


def _check_blocks(phase: Phase, layers: int, place: str) -> None:
    count, blocks = last_blocks(phase), layers - 2  # without the stem, and with the head
    if (count or phase.decay_by) and blocks < 1:
        raise CallerError(f"{place}: {'last_blocks' if count else 'decay_by'} needs a backbone "
                          "that names its blocks, as those of timm do (backbone=timm/NAME)")
    if count > blocks and count:
        raise CallerError(f"{place}: trains {count} blocks, but this backbone has {blocks}")


def last_blocks(phase: Phase) -> int:
    """Return the number of blocks before the head that are trained; 0 if stages are counted."""
    return (phase.train.last_blocks or 0) if isinstance(phase.train, Span) else 0


def trained_stages(phase: Phase, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages with trained parameters in `phase`, from input to output.

    Of `batch_norm` and `last_blocks` these are all; see `trained_parameters`.
    """
    chosen: Collection[str]
    if last_blocks(phase):
        chosen = stages
    elif isinstance(phase.train, Span):
        body, ends = _body(stages), ("neck", "head")
        chosen = ({*body[: phase.train.first], "head"} if phase.train.first
                  else {*body[len(body) - (phase.train.last or 0):], *ends})
    else:
        chosen = stages if phase.train in ("all", "batch_norm") else phase.train
    return tuple(stage for stage in stages if stage in chosen)


def _body(stages: Sequence[str]) -> list[str]:
    return [stage for stage in stages if stage not in ("neck", "head")]


def multiplier(phase: Phase, stage: str, stages: Sequence[str]) -> float:
    """Return the learning-rate multiplier of a stage."""
    if stage in phase.multipliers or phase.decay is None:
        return phase.multipliers.get(stage, 1.0)
    return phase.decay ** (len(stages) - 1 - list(stages).index(stage))


def trained_parameters(model: Classifier, phase: Phase, stage: str) -> list[Parameter]:
    """Return the trained parameters of a stage, in a fixed order; empty if it is frozen."""
    if stage not in trained_stages(phase, tuple(model.stages)):
        return []
    if count := last_blocks(phase):
        first = max(model.layers.values()) - count
        return [parameter for name, parameter in model.stage_parameters(stage)
                if model.layers[name] >= first]
    parameters = [parameter for _, parameter in model.stage_parameters(stage)]
    if phase.train != "batch_norm" or stage == "head":
        return parameters
    norms = {id(parameter) for layer in model.batch_norms(stage)
             for parameter in layer.parameters()}
    return [parameter for parameter in parameters if id(parameter) in norms]


def param_groups(model: Classifier, phase: Phase, optim: Optim) -> list[dict[str, Any]]:
    """Return optimiser groups for the trained stages, from input to output.

    Each group has `params`, `lr_multiplier` (on the run's learning rate), `weight_decay` and
    `name`: the stage, with its block where rates differ between blocks, and with `/no_decay` for
    biases and norms if those are not decayed, and for the embeddings that a network of timm exempts
    with them.
    """
    exempt = set[int]()
    if not optim.decay_norms_and_biases:
        names = model.without_decay
        exempt = {id(parameter) for stage in model.stages
                  for name, parameter in model.stage_parameters(stage)
                  if parameter.ndim <= 1 or name in names}  # biases, and norms' weights
    groups = []
    for stage in trained_stages(phase, tuple(model.stages)):
        held = phase.l2sp is not None and stage != "head"  # L2-SP replaces weight decay
        for part, rate, parameters in _parts(model, phase, stage):
            for name, params, decay in (
                (part, [p for p in parameters if id(p) not in exempt],
                 0.0 if held else optim.weight_decay),
                (f"{part}/no_decay", [p for p in parameters if id(p) in exempt], 0.0),
            ):
                if params:
                    groups.append({"params": params, "lr_multiplier": rate, "weight_decay": decay,
                                   "name": name})
    return groups


def _parts(model: Classifier, phase: Phase, stage: str
           ) -> Iterator[tuple[str, float, list[Parameter]]]:
    """Yield name, learning-rate multiplier and trained parameters of parts with one rate."""
    parameters = trained_parameters(model, phase, stage)
    if phase.decay_by is None or phase.decay is None or stage in phase.multipliers:
        yield stage, multiplier(phase, stage, tuple(model.stages)), parameters
        return
    layer_of = {id(parameter): model.layers[name] for name, parameter
                in model.stage_parameters(stage)}
    last = max(model.layers.values())
    for layer in sorted({layer_of[id(parameter)] for parameter in parameters}):
        yield (f"{stage}/layer{layer}", phase.decay ** (last - layer),
               [parameter for parameter in parameters if layer_of[id(parameter)] == layer])


def freeze(model: Classifier, phase: Phase) -> None:
    """Make exactly the phase's stages trainable; the effect survives `train()`, copies and DDP.

    Call it before wrapping in DDP, which reads `requires_grad` once. A frozen stage has constant
    parameters and batch-norm statistics, and no dropout; so has a block that is not trained.
    """
    trained = trained_stages(phase, tuple(model.stages))
    if last_blocks(phase):
        trained = tuple(stage for stage in trained if trained_parameters(model, phase, stage))
    model.freeze(set(model.stages).difference(trained), batch_norm=phase.batch_norm == "frozen")
    for stage in trained:
        trains = {id(parameter) for parameter in trained_parameters(model, phase, stage)}
        for _, parameter in model.stage_parameters(stage):
            parameter.requires_grad_(id(parameter) in trains)
    if last_blocks(phase):
        model.freeze_untrained_modules()


def describe_phase(model: Classifier, phase: Phase, lr: float) -> list[StageRow]:
    """Return one row per stage: trained parameters and learning rate.

    Args:
        model: not changed.
        phase: defines the trained stages.
        lr: the phase's base learning rate.
    """
    trained = trained_stages(phase, tuple(model.stages))
    rows = []
    for stage in model.stages:
        norms = len(model.batch_norms(stage))
        parameters = trained_parameters(model, phase, stage)
        trains = stage in trained and (bool(parameters) or not last_blocks(phase))
        rows.append(StageRow(
            stage=stage,
            parameters=sum(parameter.numel() for _, parameter in model.stage_parameters(stage)),
            trained=sum(parameter.numel() for parameter in parameters),
            lr=lr * max((rate for _, rate, _ in _parts(model, phase, stage)), default=0.0)
            if trains else 0.0,
            batch_norms=norms,
            statistics_move=trains and norms > 0 and phase.batch_norm == "train",
        ))
    return rows
