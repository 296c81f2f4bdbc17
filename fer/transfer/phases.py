"""What trains in a phase of a recipe, and how fast.

Not for how long or on which schedule: that is `fer.train`. Nothing here imports torch when the
module is loaded, so that recipes can be checked on a login node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from fer.config.recipe import Phase, Span
from fer.config.run import RunConfig, phase_epochs
from fer.errors import CallerError
from fer.models.registry import build

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
        parameters: how many numbers it holds that could be trained.
        trained: how many of them are.
        lr: base learning rate of the stage, before any schedule; 0 where it is frozen.
        batch_norms: how many batch-norm layers it has.
        statistics_move: whether their running statistics change.
    """

    stage: str
    parameters: int
    trained: int
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
        named = phase.train if isinstance(phase.train, list) else []
        _check_span(phase, stages, place)
        for key, found in (("train", named), ("multipliers", phase.multipliers)):
            for stage in found:
                if stage not in stages:
                    raise CallerError(f"{place}: {key} names no stage '{stage}'; this backbone "
                                      f"has, from input to output: {', '.join(stages)}")
        if phase.train == []:
            raise CallerError(f"{place}: train is empty; name stages, or write 'all'")
        if len(set(named)) != len(named):
            raise CallerError(f"{place}: train names a stage twice: {', '.join(named)}")
        for stage in phase.multipliers:
            if stage not in trained_stages(phase, stages):
                raise CallerError(f"{place}: a multiplier for stage '{stage}', which is frozen; "
                                  f"trained are: {', '.join(trained_stages(phase, stages))}")


def _check_span(phase: Phase, stages: Sequence[str], place: str) -> None:
    if isinstance(phase.train, Span):
        count, body = phase.train.first or phase.train.last or 0, _body(stages)
        if count > len(body):
            raise CallerError(f"{place}: trains {count} stages, and this backbone has {len(body)} "
                              f"before the head: {', '.join(body)}")


def trained_stages(phase: Phase, stages: Sequence[str]) -> tuple[str, ...]:
    """Return the stages in which something trains in `phase`, from input to output."""
    chosen: Collection[str]
    if isinstance(phase.train, Span):
        body, ends = _body(stages), ("neck", "head")
        chosen = ({*body[: phase.train.first], "head"} if phase.train.first
                  else {*body[len(body) - (phase.train.last or 0):], *ends})
    else:
        chosen = stages if phase.train in ("all", "batch_norm") else phase.train
    return tuple(stage for stage in stages if stage in chosen)


def _body(stages: Sequence[str]) -> list[str]:
    return [stage for stage in stages if stage not in ("neck", "head")]


def multiplier(phase: Phase, stage: str, stages: Sequence[str]) -> float:
    """Return what the learning rate of a stage is multiplied by."""
    if stage in phase.multipliers or phase.decay is None:
        return phase.multipliers.get(stage, 1.0)
    return phase.decay ** (len(stages) - 1 - list(stages).index(stage))


def trained_parameters(model: Classifier, phase: Phase, stage: str) -> list[Parameter]:
    """Return what trains of a stage, in a fixed order; nothing where it is frozen."""
    if stage not in trained_stages(phase, tuple(model.stages)):
        return []
    parameters = [parameter for _, parameter in model.stage_parameters(stage)]
    if phase.train != "batch_norm" or stage == "head":
        return parameters
    norms = {id(parameter) for layer in model.batch_norms(stage)
             for parameter in layer.parameters()}
    return [parameter for parameter in parameters if id(parameter) in norms]


def param_groups(model: Classifier, phase: Phase, optim: Optim) -> list[dict[str, Any]]:
    """Return optimiser groups for the trained stages, from input to output; nothing is changed.

    Each group has `params`, `lr_multiplier` (on the run's learning rate), `weight_decay` and
    `name`: the stage, with `/no_decay` for biases and norms where those are not decayed.
    """
    groups = []
    for stage in trained_stages(phase, tuple(model.stages)):
        parameters = trained_parameters(model, phase, stage)
        decayed = [p for p in parameters if optim.decay_norms_and_biases or not _is_vector(p)]
        spared = [p for p in parameters if not optim.decay_norms_and_biases and _is_vector(p)]
        held = phase.l2sp is not None and stage != "head"  # near its start, not near zero
        for name, params, decay in (
            (stage, decayed, 0.0 if held else optim.weight_decay),
            (f"{stage}/no_decay", spared, 0.0),
        ):
            if params:
                groups.append({
                    "params": params,
                    "lr_multiplier": multiplier(phase, stage, tuple(model.stages)),
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
    for stage in trained:
        trains = {id(parameter) for parameter in trained_parameters(model, phase, stage)}
        for _, parameter in model.stage_parameters(stage):
            parameter.requires_grad_(id(parameter) in trains)


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
            trained=sum(p.numel() for p in trained_parameters(model, phase, stage)),
            lr=lr * multiplier(phase, stage, tuple(model.stages)) if trains else 0.0,
            batch_norms=norms,
            statistics_move=trains and norms > 0 and phase.batch_norm == "train",
        ))
    return rows


def _is_vector(parameter: Any) -> bool:
    return bool(parameter.ndim <= 1)  # biases, and the weights of norm layers


def explain(config: RunConfig) -> Iterator[str | Table]:
    """Yield lines and tables for people: the run's parents first, then its own phases.

    No memory is taken for weights, and no data are needed.

    Raises:
        CallerError: a recipe that does not fit its backbone.
    """
    for parent in config.parents.values():
        yield from explain(parent)
    with torch.device("meta"):
        model = build(config.backbone, config.data.classes)
    check_recipe(config.recipe, tuple(model.stages))
    start = "" if config.recipe.combine else f": {_start(config)}"
    yield f"{config.backbone.name} · {config.recipe.name} · {config.train_on}{start}"
    if config.recipe.combine is not None:
        yield f"{config.recipe.combine.how} of the runs above, chosen on validation; nothing trains"
    for phase in config.recipe.phases:
        table = Table("stage", title=_title(phase, config), title_justify="left", box=None,
                      pad_edge=False)
        for column in ("parameters", "trained", "learning rate", "batch-norm layers"):
            table.add_column(column, justify="right")
        rows = describe_phase(model, phase, config.optim_of(phase).lr)
        for row in rows:
            norms = "" if not row.batch_norms else (
                f"{row.batch_norms} {'move' if row.statistics_move else 'still'}")
            table.add_row(row.stage, f"{row.parameters:,}", f"{row.trained:,}" if row.trained
                          else "frozen", f"{row.lr:.3g}" if row.trained else "", norms)
        table.add_row("in all", f"{sum(row.parameters for row in rows):,}",
                      f"{sum(row.trained for row in rows):,}")
        yield table


def _start(config: RunConfig) -> str:
    init, pretrained = config.recipe.init, config.backbone.pretrained
    if init.source == "scratch":
        return "from random weights"
    head = "its head kept" if init.keep_head else "with a new head"
    if init.source == "pretrained" and pretrained is not None and pretrained.file:
        return f"from {pretrained.file}, {head}"
    return f"from the run above, {head}"


def _title(phase: Phase, config: RunConfig) -> str:
    schedule = phase.schedule or config.schedule
    epochs = phase_epochs(config, phase)
    optim = config.optim_of(phase)
    return (f"phase {phase.name}: {epochs} epochs at most, {optim.name}, "
            f"{schedule.name} from {optim.lr:g}")
