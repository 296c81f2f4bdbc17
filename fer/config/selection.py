"""Which of a run's weights it keeps: the end of its schedule, or the best epoch on validation.

The maximum of a noisy score picks weights from the middle of a schedule, so a schedule that ends is
selected by its end. Until November 2026 it was always the best epoch of all phases; that rule
(`best` over `all_phases`) is neutral in the run id.
"""

from math import sqrt
from typing import TYPE_CHECKING, Literal, get_args

from fer.config.yaml_io import Tree
from fer.errors import plural

if TYPE_CHECKING:
    from fer.config.recipe import Phase
    from fer.config.run import RunConfig

Select = Literal["last", "average", "best"]
Score = Literal["accuracy", "uar", "macro_f1", "loss"]
TYPICAL_UAR = 0.75
MOST_NOISE = 0.03  # of UAR: what the choice of an epoch late in training is about


def select_of(config: "RunConfig") -> Select:
    """Return `train.select`; default: `last` with a schedule that ends or an average, else `best`.

    Runs that combine others are always selected on validation.
    """
    phases = config.recipe.phases
    if not phases:
        return "best"
    if config.train.select is not None:
        return config.train.select
    ends = (phases[-1].schedule or config.schedule).ends or phases[-1].average is not None
    return "last" if ends else "best"


def selection_in_id(config: "RunConfig") -> str | None:
    """Return the part of the run id that says which weights are kept; None for the old rule."""
    select, phases = select_of(config), config.recipe.phases
    if select == "average":
        return f"average of {config.train.average_epochs} epochs"
    if select == "last":
        return "last"
    one = len(phases) < 2 or config.train.best_over == "all_phases"
    return None if one else "best of the last phase"


def compared_by(config: "RunConfig") -> dict[str, str | bool]:
    """Return by which score a run compares its epochs, as `fer.search.scores.Score` takes it."""
    best = select_of(config) == "best"
    return {"select": config.train.score if best else "",
            "in_phase": config.train.best_over == "last_phase"}


def kept_in_words(config: "RunConfig") -> str:
    """Return which weights a run keeps, for its record and reports."""
    select, train = select_of(config), config.train
    if not config.recipe.phases:
        return f"the best combination by {train.score}"
    if select == "average":
        return f"the mean of those after each of the last {train.average_epochs} epochs"
    if select == "last":
        return "those of the last epoch"
    phase = " of the last phase" if train.best_over == "last_phase" else ""
    return f"those of the best epoch{phase} by {train.score}"


def averaged_from(config: "RunConfig", phase: "Phase") -> int | None:
    """Return the epoch of a phase from which its weights are averaged by `select: average`."""
    if select_of(config) != "average" or phase is not config.recipe.phases[-1]:
        return None
    return max(0, (phase.epochs or config.train.epochs) - config.train.average_epochs)


def refuse_early_stopping(config: "RunConfig") -> None:
    """Raise a ValueError where early stopping would cut short what the run is selected by."""
    select = select_of(config)
    if select == "best":
        return
    for phase in config.recipe.phases:
        patience = phase.early_stop or config.train.early_stop
        schedule = phase.schedule or config.schedule
        last = phase is config.recipe.phases[-1]
        if patience is not None and (schedule.ends or (select == "average" and last)):
            what = f"{schedule.name} schedule" if schedule.ends else "average of the last epochs"
            raise ValueError(f"early_stop: {patience} would cut the {what} of phase '{phase.name}' "
                             "short: set train.early_stop to null, or keep both and ask for the "
                             "best epoch with train.select: best")
        if select == "average" and last and phase.average is not None:
            raise ValueError(f"train.select: average: phase '{phase.name}' already averages its "
                             "weights; use train.select: last")


def renewed(tree: Tree) -> Tree:
    """Return a tree in which `train.select: SCORE`, the old spelling, is `best` by that score."""
    train = tree.get("train")
    if not isinstance(train, dict) or train.get("select") not in get_args(Score):
        return tree
    return {**tree, "train": {**train, "select": "best", "score": train["select"]}}


def of_store(tree: Tree) -> Tree:
    """Return a stored configuration, and those of its parents, with what they meant when written.

    Those of before November 2026 have the old spelling of `train.select`, the best epoch of all
    phases, and no masks on validation.
    """
    train = tree.get("train")
    if not isinstance(train, dict):
        return tree
    tree = renewed({**tree, "train": {"best_over": "all_phases", **train}})
    if isinstance(masks := train.get("masks"), dict):
        tree["train"]["masks"] = {"on_validation": False, **masks}
    parents = tree.get("parents")
    if isinstance(parents, dict):
        tree["parents"] = {role: of_store(parent) if isinstance(parent, dict) else parent
                           for role, parent in parents.items()}
    return tree


def uar_noise(people: int) -> float:
    """Return the standard error of a UAR of 0.75 on validation with so many people.

    Pictures of one person are alike, so people count, not pictures.
    """
    return sqrt(TYPICAL_UAR * (1 - TYPICAL_UAR) / max(people, 1))


def few_people_warning(config: "RunConfig", people: int) -> str:
    """Return a line if the best epoch is selected on few people; empty otherwise.

    Args:
        people: in validation; a picture of an unknown person counts as one.
    """
    noise = uar_noise(people)
    if select_of(config) != "best" or not config.recipe.phases or noise <= MOST_NOISE:
        return ""
    return (f"the best epoch was selected on validation with {plural(people, 'person')}, where UAR "
            f"has a standard error of about {100 * noise:.0f} points, more than late epochs "
            "differ by: train.select: last with a schedule that ends is safer")
