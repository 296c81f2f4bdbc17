"""End-of-epoch logic: model selection, early stopping, the next phase, records.

All functions depend only on the configuration and a `Progress`, so many runs can train together.
"""

from copy import copy

from fer.config.run import RunConfig, phase_epochs
from fer.config.selection import select_of
from fer.train.optim import plateau_cost, schedule_of
from fer.train.train_state import Best, Progress


def selection_score(config: RunConfig, scores: dict[str, float]) -> float:
    """Return `train.score` of an epoch as a number of which higher is better."""
    name = config.train.score
    return -scores["loss"] if name == "loss" else scores[name]


def end_epoch(config: RunConfig, progress: Progress, score: float) -> None:
    """Move the progress to the next epoch, the next phase or the end.

    Args:
        score: validation score after the epoch; higher is better.
    """
    phase = config.recipe.phases[progress.phase]
    progress.batch, progress.losses = 0, 0.0
    progress.epoch += 1
    progress.phase_epoch += 1
    better = progress.phase_best.update(score, progress.step, progress.epoch)
    if select_of(config) != "best":
        progress.best = Best(score, progress.step, progress.epoch)
    elif config.train.best_over == "last_phase":
        progress.best = copy(progress.phase_best)
    else:
        progress.best.update(score, progress.step, progress.epoch)
    progress.epochs_without_better = 0 if better else progress.epochs_without_better + 1
    schedule = schedule_of(config, phase)
    if schedule.name == "plateau":
        base_lr = config.optim_of(phase).lr
        progress.plateau.update(plateau_cost(config.train.score, score), base_lr, schedule)
    patience = phase.early_stop or config.train.early_stop
    stopped = patience is not None and progress.epochs_without_better >= patience
    if stopped or progress.phase_epoch >= phase_epochs(config, phase):
        if progress.phase + 1 < len(config.recipe.phases):
            progress.begin_phase(progress.phase + 1)
        else:
            progress.finished = True


def epoch_facts(progress: Progress, phase: str, per_epoch: int, lr: float,
                scores: dict[str, float]) -> dict[str, float | str]:
    """Return the record of the current epoch; call it before `end_epoch`."""
    return {"epoch": progress.epoch, "step": progress.step, "phase": phase,
            "train_loss": progress.losses / per_epoch, "lr": lr,
            **{f"val_{name}": value for name, value in scores.items()}}


def final_facts(progress: Progress, config: RunConfig) -> dict[str, float | int | str | None]:
    """Return the content of `train.json`, without times so that repeated runs agree.

    `select` is `train.score`; `best_…` is of the epoch whose weights are kept, which `kept` names
    if it is not the best one.
    """
    best, select = progress.best, select_of(config)
    kept = {} if select == "best" else {"kept": select}
    return {"steps": progress.step, "epochs": progress.epoch, "select": config.train.score, **kept,
            "best_epoch": best.epoch, "best_step": best.step, "best_score": best.score}
