"""Transfer-learning recipes: how a run starts, and its phases.

Whether a recipe fits a backbone's stages is checked in `fer.transfer.phases`.
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
    """Initial weights: random, the backbone's pretrained weights, or those of another run.

    For `run`, the parent is this run's own configuration with the overrides in `set`. `labels` maps
    a kept head with other classes: label, or its number in the order of the logits, to class or
    `drop`; a name stands for the file in `configs/labels`.
    """

    source: Literal["scratch", "pretrained", "run"] = "scratch"
    set: Annotated[dict[str, Any], Label()] = {}  # joins through the parent's id
    keep_head: bool = False
    labels: Annotated[dict[str, str], Neutral({})] = {}

    @model_validator(mode="after")
    def _labels_are_of_a_head(self) -> "Init":
        if self.labels and (not self.keep_head or self.source != "pretrained"):
            raise ValueError("init.labels maps the head of pretrained weights: it needs source: "
                             "pretrained and keep_head: true")
        return self


class Schedule(Frozen):
    """Learning-rate schedule, as a factor on the base rate.

    `plateau` is ReduceLROnPlateau on `train.score`; `cosine` ends at `min_lr`, and so does
    `constant` with a linear cool-down over its last `cooldown_epochs`.
    """

    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=0)] = 2
    min_lr: Annotated[float, Field(ge=0)] = 0.0
    cooldown_epochs: Annotated[float, Field(ge=0), Neutral(0.0)] = 0.0

    @property
    def ends(self) -> bool:
        """Whether the rate falls to `min_lr` by itself, so that the last epoch is the one to keep.
        """
        return self.name == "cosine" or self.cooldown_epochs > 0

    @model_validator(mode="after")
    def _only_a_constant_rate_cools_down(self) -> "Schedule":
        if self.cooldown_epochs and self.name != "constant":
            raise ValueError(f"cooldown_epochs is for schedule 'constant', not '{self.name}'")
        return self


class PhaseOptim(Frozen):
    """Optimiser settings of a phase that differ from the run's; omitted keys take the run's values.

    The learning rate is the phase's `lr`.
    """

    name: OptimName | None = None
    weight_decay: NotNegative | None = None
    decay_norms_and_biases: bool | None = None
    betas: tuple[Fraction, Fraction] | None = None
    momentum: Fraction | None = None
    clip_norm: Positive | None = None


class Span(Frozen):
    """The `first` or `last` N stages of a backbone, including the stem, and the head.

    Layers between the last stage and the head belong to the last stages. `last_blocks` counts
    blocks of a network of timm instead; what follows the blocks trains with them.
    """

    first: Count | None = None
    last: Count | None = None
    last_blocks: Annotated[Count | None, Neutral(None)] = None

    @model_validator(mode="after")
    def _one_end(self) -> "Span":
        if [self.first, self.last, self.last_blocks].count(None) != 2:
            raise ValueError("give either 'first', 'last' or 'last_blocks'")
        return self


class Pair(Frozen):
    """A second view of each training image: the same face without its mask, augmented equally.

    It comes from the unmasked original of the training set (`twin_of`), or else from the same image
    before masks are drawn on it (`train.masks`). `joint` trains on both views. `consistency` adds
    `weight` times the mean of the two Kullback-Leibler divergences between their outputs. `distill`
    trains on the masked view and adds `weight` times the divergence from the teacher's outputs for
    the unmasked view (Hinton et al. 2015).
    """

    how: Literal["joint", "consistency", "distill"]
    weight: Positive = 1.0
    temperature: Positive = 1.0


class Teacher(Frozen):
    """The teacher of a distillation: this run's own configuration with the overrides in `set`."""

    set: dict[str, Any]


class Average(Frozen):
    """Weight averaging: a phase is validated with and ends with an average of its weights.

    `ema` is an exponential moving average over steps with factor `decay`. `swa` is the mean over
    the ends of epochs, after each of which batch-norm statistics are recomputed on training data
    (Izmailov et al. 2018).
    """

    how: Literal["ema", "swa"]
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99


class Combine(Frozen):
    """A run that combines trained parent runs without training; selected on validation alone.

    Each item of `of` is this run's own configuration with those overrides. `wise_ft` interpolates
    linearly between the weights of two runs at `points` equidistant points (Wortsman et al. 2022).
    `uniform_soup` is the mean of all weights; `greedy_soup` adds members one by one, best first,
    and keeps those that do not hurt validation (Wortsman et al. 2022, model soups). For averaged
    weights, batch-norm statistics are recomputed on training data. `temperature` divides the logits
    of one run by the number that minimises the negative log-likelihood on validation (Guo et al.
    2017). `batch_norm` takes the batch-norm statistics of one run from the pictures of the split
    `unlabelled`, without their labels (Li et al. 2017, AdaBN): if it is a test set, the model has
    seen its pictures, and reports say so.
    """

    how: Literal["wise_ft", "uniform_soup", "greedy_soup", "temperature", "batch_norm"]
    of: Annotated[tuple[dict[str, Any], ...], Field(min_length=1), Label()]  # parents: their ids
    points: Annotated[int, Field(ge=2, le=101)] = 11
    unlabelled: Annotated[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+/[a-z]+$")] | None,
                          Neutral(None)] = None

    @model_validator(mode="after")
    def _right_number(self) -> "Combine":
        least, most = {"wise_ft": (2, 2), "temperature": (1, 1), "batch_norm": (1, 1)}.get(
            self.how, (2, 999))
        if not least <= len(self.of) <= most:
            raise ValueError(f"{self.how} needs {least}{' or more' if most > least else ''} "
                             f"run{'s' if most > 1 else ''}, not {len(self.of)}")
        if (self.how == "batch_norm") != (self.unlabelled is not None):
            raise ValueError("how: batch_norm and unlabelled, a split, require each other")
        return self


class Phase(Frozen):
    """One phase of a recipe: which stages are trained, how fast, how long.

    `train` names stages of the backbone, counts them from one end (`{last: 2}`), or is `all`; all
    other stages are frozen, both parameters and batch-norm statistics. `train: batch_norm` trains
    the batch-norm layers of all stages, and the head. `batch_norm: frozen` freezes the statistics
    of trained stages too. The learning rate of a stage is scaled by its multiplier; `decay` sets
    missing multipliers: 1 for the head, times `decay` for each earlier stage, or with
    `decay_by: block` for each earlier block of a network of timm. `l2sp` penalises the
    distance of the weights before the head from their initial values, in place of weight decay.
    `views` (head-only phases): each picture has this many fixed views, one per epoch; the first is
    the original, the others are augmented equally in every run. Features of the frozen stages are
    computed once and shared by runs, and nothing is mixed. `pair` adds a second view of each
    picture, `average` averages weights. Omitted keys take the run's own values.
    """

    name: Name
    train: Literal["all", "batch_norm"] | list[str] | Span = "all"
    multipliers: dict[str, Positive] = {}
    decay_by: Annotated[Literal["block"] | None, Neutral(None)] = None
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
    def _decay_of_blocks_has_a_factor(self) -> "Phase":
        if self.decay_by is not None and self.decay is None:
            raise ValueError("decay_by needs the factor between blocks: decay: 0.75")
        return self

    @model_validator(mode="after")
    def _views_are_of_a_frozen_body(self) -> "Phase":
        if self.views is not None and self.train != ["head"]:
            raise ValueError("views are for phases that train only the head: train: [head]")
        if self.views is not None and self.pair is not None:
            raise ValueError("a phase has either fixed views or pairs")
        return self


class Recipe(Frozen):
    """A transfer-learning configuration; `configs/recipes/NAME.yaml`, `label` for reports.

    `defaults`: dotted keys of the run that no file and no override sets otherwise.
    """

    name: Name
    label: Annotated[str | None, Label()] = None
    init: Init = Init()
    defaults: Annotated[dict[str, Any], Label()] = {}  # joins as the values that they set
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
            raise ValueError("a teacher and a phase with pair: {how: distill} require each other")
        return self
