"""What a transfer-learning recipe is: how a run starts, and its phases.

Whether a recipe fits a backbone's stages is `fer.transfer.phases`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fer.config.base import (
    Count,
    Fraction,
    Frozen,
    Label,
    Name,
    Neutral,
    NotNegative,
    Positive,
)

OptimName = Literal["radam", "adamw", "sgd"]


class Init(Frozen):
    """How a run starts: random weights, the backbone's pretrained ones, or another run.

    For `run`, the parent is this run's own configuration with the overrides in `set`.
    """

    source: Literal["scratch", "pretrained", "run"] = "scratch"
    set: Annotated[dict[str, Any], Label()] = {}  # joins through the parent's id
    keep_head: bool = False


class Schedule(Frozen):
    """The learning rate over time, as a factor on the base rate.

    `plateau` is ReduceLROnPlateau on the selection metric; `cosine` ends at `min_lr`.
    """

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 2
    min_lr: Annotated[float, Field(ge=0)] = 0.0


class PhaseOptim(Frozen):
    """What a phase's optimiser does otherwise than the run's; keys left out are the run's own.

    The learning rate is the phase's `lr`.
    """

    name: OptimName | None = None
    weight_decay: NotNegative | None = None
    decay_norms_and_biases: bool | None = None
    betas: tuple[Fraction, Fraction] | None = None
    momentum: Fraction | None = None
    clip_norm: Positive | None = None


class Span(Frozen):
    """Some stages of any backbone: its `first` or `last` so many, stem included, and the head.

    What lies between the last stage and the head goes with the last ones.
    """

    first: Count | None = None
    last: Count | None = None

    @model_validator(mode="after")
    def _one_end(self) -> "Span":
        if (self.first is None) == (self.last is None):
            raise ValueError("give either 'first' or 'last'")
        return self


class Pair(Frozen):
    """A second view of each training picture: the same face without its mask, augmented alike.

    It comes from the set that the training set is a twin of; where the training set is no twin,
    from the same picture before masks are drawn on it (`train.masks`). `joint` trains on both
    views; `consistency` also keeps the outputs for them together, by `weight` times the mean of
    the two Kullback-Leibler divergences; `distill` trains on the masked view and keeps its outputs,
    by `weight`, near those that the recipe's teacher has for the other (Hinton et al. 2015).
    """

    how: Literal["joint", "consistency", "distill"]
    weight: Positive = 1.0
    temperature: Positive = 1.0


class Teacher(Frozen):
    """A parent run to learn from: this run's own configuration with the overrides in `set`."""

    set: dict[str, Any]


class Average(Frozen):
    """The weights that a phase is validated with and ends with: a mean over its course.

    `ema` is an exponential mean over steps that keeps `decay` of itself in each. `swa` is the plain
    mean over the ends of epochs, after each of which batch-norm statistics are estimated anew from
    training pictures (Izmailov et al. 2018).
    """

    how: Literal["ema", "swa"]
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99


class Combine(Frozen):
    """A run made of trained ones, its parents, without training; chosen on validation alone.

    Each of `of` is this run's own configuration with those overrides. `wise_ft` goes from the first
    of two to the second in `points` steps of equal length through the weights (Wortsman et al.
    2022). `uniform_soup` is the mean of all weights, `greedy_soup` takes one after another, the
    best first, while that makes validation no worse (Wortsman et al. 2022, model soups). Where
    weights are mixed, batch-norm statistics are estimated anew from training pictures.
    `temperature` divides the logits of one run by the number that gives validation the least
    negative log-likelihood (Guo et al. 2017).
    """

    how: Literal["wise_ft", "uniform_soup", "greedy_soup", "temperature"]
    of: Annotated[tuple[dict[str, Any], ...], Field(min_length=1), Label()]  # parents: their ids
    points: Annotated[int, Field(ge=2, le=101)] = 11

    @model_validator(mode="after")
    def _right_number(self) -> "Combine":
        least, most = {"wise_ft": (2, 2), "temperature": (1, 1)}.get(self.how, (2, 999))
        if not least <= len(self.of) <= most:
            raise ValueError(f"{self.how} is of {least}{' or more' if most > least else ''} "
                             f"run{'s' if most > 1 else ''}, not {len(self.of)}")
        return self


class Phase(Frozen):
    """One part of a recipe: which stages train, how fast, how long.

    `train` names stages of the backbone, counts them from one end (`{last: 2}`), or is `all`; every
    other stage is frozen, parameters and batch-norm statistics alike. `batch_norm` in its place
    trains the batch-norm layers of all stages, and the head. `batch_norm: frozen` keeps the
    statistics of trained stages as well. A stage trains at the rate times its multiplier; `decay`
    gives those that have none: 1 for the head, times `decay` for each stage before. `l2sp` holds
    the weights before the head near those that the run started from, in place of weight decay.
    `views`, where only the head trains: each picture is shown in so many fixed ways, one an epoch,
    the first as it is, the others augmented alike in every run; what the frozen stages make of
    them is computed once and shared by runs, and nothing is mixed. `pair` adds a second view of
    each picture, `average` averages weights. Keys left empty take the run's own values.
    """

    name: Name
    train: Literal["all", "batch_norm"] | list[str] | Span = "all"
    multipliers: dict[str, Positive] = {}
    decay: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Neutral(None)] = None
    l2sp: Annotated[Positive | None, Neutral(None)] = None
    batch_norm: Literal["train", "frozen"] = "train"
    epochs: Count | None = None
    lr: Positive | None = None
    optim: Annotated[PhaseOptim | None, Neutral(None)] = None
    schedule: Schedule | None = None
    early_stop: Annotated[int, Field(ge=1)] | None = None
    views: Annotated[Annotated[int, Field(ge=1, le=64)] | None, Neutral(None)] = None
    pair: Annotated[Pair | None, Neutral(None)] = None
    average: Annotated[Average | None, Neutral(None)] = None

    @model_validator(mode="after")
    def _views_are_of_a_frozen_body(self) -> "Phase":
        if self.views is not None and self.train != ["head"]:
            raise ValueError("views are for phases that train the head alone: train: [head]")
        if self.views is not None and self.pair is not None:
            raise ValueError("a phase has either fixed views or pairs")
        return self


class Recipe(Frozen):
    """A transfer-learning configuration; `configs/recipes/NAME.yaml`."""

    name: Name
    init: Init = Init()
    teacher: Annotated[Teacher | None, Label()] = None  # joins through the parent's id
    phases: tuple[Phase, ...] = ()
    combine: Annotated[Combine | None, Neutral(None)] = None

    @property
    def paired(self) -> bool:
        """Whether some phase needs a second view of each picture."""
        return any(phase.pair is not None for phase in self.phases)

    @model_validator(mode="after")
    def _phases_or_parents(self) -> "Recipe":
        if bool(self.phases) == (self.combine is not None):
            raise ValueError("recipe.phases needs at least 1 phase, or the recipe combines others")
        return self

    @model_validator(mode="after")
    def _teachers_are_learnt_from(self) -> "Recipe":
        distilled = any(phase.pair and phase.pair.how == "distill" for phase in self.phases)
        if distilled != (self.teacher is not None):
            raise ValueError("a teacher, and a phase with pair: {how: distill}, come together")
        return self
