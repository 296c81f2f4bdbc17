"""What each phase of a run trains, at which rate and for how long, as tables for people."""

from collections.abc import Iterator

import torch
from rich.table import Table

from fer.config.recipe import Phase
from fer.config.run import RunConfig, phase_epochs
from fer.models.registry import build
from fer.transfer.phases import check_recipe, describe_phase


def explain(config: RunConfig) -> Iterator[str | Table]:
    """Yield lines and tables that describe a run: its parents first, then its own phases.

    No weights are allocated, and no data are needed.

    Raises:
        CallerError: a recipe that does not fit its backbone.
    """
    for parent in config.parents.values():
        yield from explain(parent)
    with torch.device("meta"):
        model = build(config.backbone, config.data.classes)
    check_recipe(config.recipe, tuple(model.stages), model.layer_count)
    start = "" if config.recipe.combine else f": {_start(config)}"
    yield f"{config.backbone.name} · {config.recipe.name} · {config.train_on}{start}"
    if config.recipe.combine is not None:
        yield f"{config.recipe.combine.how} of the runs above, selected on validation; no training"
    for phase in config.recipe.phases:
        table = Table("stage", title=_title(phase, config), title_justify="left", box=None,
                      pad_edge=False)
        for column in ("parameters", "trained", "learning rate", "batch-norm layers"):
            table.add_column(column, justify="right")
        rows = describe_phase(model, phase, config.optim_of(phase).lr)
        for row in rows:
            norms = "" if not row.batch_norms else (
                f"{row.batch_norms} {'updated' if row.statistics_move else 'frozen'}")
            table.add_row(row.stage, f"{row.parameters:,}", f"{row.trained:,}" if row.trained
                          else "frozen", f"{row.lr:.3g}" if row.trained else "", norms)
        table.add_row("total", f"{sum(row.parameters for row in rows):,}",
                      f"{sum(row.trained for row in rows):,}")
        yield table


def _start(config: RunConfig) -> str:
    init, pretrained = config.recipe.init, config.backbone.pretrained
    if init.source == "scratch":
        return "from random weights"
    head = "with its head" if init.keep_head else "with a new head"
    head += ", mapped to the classes" if init.labels else ""
    if init.source == "pretrained" and pretrained is not None and pretrained.file:
        return f"from {pretrained.file}, {head}"
    return f"from the run above, {head}"


def _title(phase: Phase, config: RunConfig) -> str:
    schedule = phase.schedule or config.schedule
    epochs = phase_epochs(config, phase)
    optim = config.optim_of(phase)
    return (f"phase {phase.name}: at most {epochs} epoch{'' if epochs == 1 else 's'}, "
            f"{optim.name}, {schedule.name} from {optim.lr:g}")
