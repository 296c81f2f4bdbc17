"""Configuration of one training run: frozen models that refuse unknown keys.

The markers of `fer.config.base` define which fields are part of the run id. Reading files is in
`fer.config.load`, recipes in `fer.config.recipe`.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fer.config.augmentation import Masks, Mix
from fer.config.backbone import Backbone
from fer.config.base import (
    Count,
    Fraction,
    Frozen,
    HashedAs,
    Label,
    Neutral,
    NotNegative,
    PathText,
    Positive,
)
from fer.config.label_files import check_head_labels
from fer.config.names import ClassNames
from fer.config.person_splits import Folds, Resplit
from fer.config.recipe import OptimName, Phase, Recipe, Schedule
from fer.config.selection import Score, Select, refuse_early_stopping
from fer.errors import CallerError, choices

MOST_DRAWINGS = 20_000  # beyond that, generated names would repeat
Drawings = Annotated[int, Field(ge=1, le=MOST_DRAWINGS)]


class DrawnFaces(Frozen):
    """Sizes of the drawn data sets (drawings, not people): pictures per set and split."""

    seed: Annotated[int, Field(ge=0)] = 1234
    lfw_train: Drawings = 1600
    lfw_eval: Drawings = 800
    real_test: Drawings = 360
    people_train: Drawings = 800


class DataSet(Frozen):
    """One data set: `folder` is absolute or below the data root; `label` names it in reports.

    `twin_of` names the set of which this is a masked copy, with the same validation split.
    """

    folder: PathText
    twin_of: str | None = None
    label: str | None = None


class Data(Frozen):
    """The data sets, and how validation is split off train.

    `folds` is made from `train.folds` and `train.fold` (`fer.config.fold_grid`): validation is that
    fold of people, whatever `val_fraction` says.
    """

    classes: ClassNames = ("negative", "neutral", "positive")
    sets: Annotated[dict[str, DataSet], Label()] = {}  # joins through the digests of the splits
    shared_people: Annotated[tuple[str, ...], Label()] = ()  # test splits that may share people
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    val_seed: int = 1234
    resplit: Annotated[Resplit | None, Neutral(None)] = None
    folds: Annotated[Folds | None, Neutral(None)] = None
    drawn: Annotated[DrawnFaces | None, Label()] = None

    def named(self, name: str) -> DataSet:
        """Return a set; a `CallerError` if there is none of this name, as in a damaged store."""
        if name not in self.sets:
            raise CallerError(f"no data set '{name}' in data.sets; there are: {choices(self.sets)}")
        return self.sets[name]


class Optim(Frozen):
    """Optimiser; weight decay is decoupled, and skips biases and norms if so configured."""

    name: OptimName = "adamw"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1e-3
    decay_norms_and_biases: bool = True
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    momentum: Fraction = 0.9
    clip_norm: Positive | None = None


class Loss(Frozen):
    """Cross-entropy. `balanced` class weights are N / classes / count over the training split.

    Weights of mask types (N / types / count) are multiplied with them. The types are those that
    `pictures.csv` names, and the rest of each set.
    """

    class_weights: Literal["none", "balanced"] | tuple[Positive, ...] = "none"
    mask_type_weights: Annotated[Literal["none", "balanced"], Neutral("none")] = "none"
    label_smoothing: Fraction = 0.0


class Train(Frozen):
    """Epochs, batches, augmentation, and which weights a run keeps (`fer.config.selection`).

    `batch_size` is the global batch size, independent of the number of GPUs; `micro_batch` is the
    maximum number of samples in one forward pass on one GPU (with gradient accumulation).
    `select`: the weights of the `last` epoch, the `average` of those after each of the last
    `average_epochs` epochs, or of the `best` epoch by `score` on validation; default: `last` with a
    schedule that ends, else `best`. `best_over`: the phases whose epochs `best` compares.
    `folds`: people in training and validation are assigned to so many folds, balanced by class; a
    run is validated on `fold`, from 0. Studies and searches train a run on each.
    """

    epochs: Count = 10
    batch_size: Count = 48
    micro_batch: Count | None = None
    augment: Literal["none", "light", "seed2021", "strong", "trivial"] = "light"
    masks: Annotated[Masks | None, Neutral(None)] = None
    mix: Annotated[Mix | None, Neutral(None)] = None
    select: Annotated[Select | None, Label()] = None  # joins through `selection_in_id`, as do
    average_epochs: Annotated[Count, Label()] = 5
    best_over: Annotated[Literal["last_phase", "all_phases"], Label()] = "last_phase"
    score: Annotated[Score, HashedAs("select")] = "uar"
    early_stop: Annotated[int, Field(ge=1)] | None = None
    folds: Annotated[int | None, Field(ge=2, strict=True), Label()] = None
    fold: Annotated[int | None, Field(ge=0, strict=True), Label()] = None
    # both join through `data.folds`

    @model_validator(mode="after")
    def _fold_is_named(self) -> "Train":
        if self.folds is None and self.fold is not None:
            raise ValueError(f"fold: {self.fold} of how many? Set train.folds too")
        if self.folds is not None and (self.fold is None or self.fold >= self.folds):
            given = "one run needs train.fold" if self.fold is None else f"no fold {self.fold}"
            raise ValueError(f"folds: {self.folds}: {given}, one of 0 to {self.folds - 1}; "
                             "launch/sweep.py and launch/tune.py train a run on each")
        return self


class Compute(Frozen):
    """Device and precision; fields that affect rounding are part of the run id."""

    device: Annotated[Literal["auto", "cpu", "cuda"], Label()] = "auto"
    threads: Count = 1
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = True
    compile: bool = False
    batch_norm: Literal["sync", "local"] = "sync"
    determinism: Annotated[Literal["strict", "fast"], Label()] = "fast"


class Keep(Frozen):
    """Checkpoints and logs written during training, and how often."""

    every_minutes: Positive = 10.0
    checkpoints: Annotated[int, Field(ge=2)] = 2
    tensorboard: bool = True
    sample_images: Annotated[int, Field(ge=0)] = 16


class Inputs(Frozen):
    """The inputs of a resolved configuration: digests of data and weights, ids of parents."""

    digests: dict[str, str]
    parents: dict[str, str] = {}

    @property
    def splits(self) -> dict[str, str]:
        """The digests of splits, without those of weights and mask types."""
        return {name: digest for name, digest in self.digests.items() if "/" in name}


class RunConfig(Frozen):
    """One fully resolved configuration of a training run."""

    schema_version: Annotated[Literal[1], Field(alias="schema"), Label()] = 1
    name: Annotated[str | None, Label()] = None
    backbone: Backbone
    recipe: Recipe
    train_on: str
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: Data
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    loss: Loss = Loss()
    train: Train = Train()
    compute: Compute = Compute()
    keep: Annotated[Keep, Label()] = Keep()
    evaluate_on: Annotated[tuple[str, ...], Label()] = ()
    parents: Annotated[dict[str, "RunConfig"], Label()] = {}  # joins through `inputs.parents`
    inputs: Annotated[Inputs | None, Label()] = None  # hashed separately by `ids`

    @property
    def train_sets(self) -> tuple[str, ...]:
        """Names of the training sets, in the order given."""
        return tuple(self.train_on.split("+"))

    @property
    def clean_sets(self) -> tuple[str, ...]:
        """Names of the sets with the unmasked view of each picture, if the recipe needs it."""
        if not self.recipe.paired:
            return ()
        return tuple(dict.fromkeys(self.data.sets[name].twin_of or name
                                   for name in self.train_sets))

    def optim_of(self, phase: Phase) -> Optim:
        """Return the optimiser settings of a phase, including its learning rate."""
        own = phase.optim.model_dump(exclude_none=True) if phase.optim else {}
        return self.optim.model_copy(update={**own, "lr": phase.lr or self.optim.lr})

    @property
    def needed_sets(self) -> frozenset[str]:
        """Names of the data sets read by the run and its ancestors."""
        tested = {split.split("/")[0] for split in (*self.evaluate_on, *self.unlabelled)}
        return frozenset((*self.train_sets, *self.clean_sets)) | tested | frozenset().union(
            *(parent.needed_sets for parent in self.parents.values()))

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """The split whose pictures give batch-norm statistics without their labels, if any."""
        split = self.recipe.combine.unlabelled if self.recipe.combine else None
        return (split,) if split else ()

    @model_validator(mode="after")
    def _folds_are_those_of_training(self) -> "RunConfig":
        folds = self.data.folds
        made = (folds.of, folds.fold) if folds else (None, None)
        if made != (self.train.folds, self.train.fold):
            raise ValueError("data.folds follows from train.folds and train.fold; set those")
        return self

    @model_validator(mode="after")
    def _unlabelled_is_of_no_fold(self) -> "RunConfig":
        if self.data.folds is not None and (own := [
                split for split in self.unlabelled if split.endswith(("/train", "/val"))]):
            raise ValueError(f"recipe.combine.unlabelled: {own[0]} is another one in each fold "
                             "(train.folds); name a test set")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> "RunConfig":
        for split in (*self.train_sets, *(
                split.split("/")[0] for split in (*self.evaluate_on, *self.unlabelled))):
            if split not in self.data.sets:
                known = ", ".join(sorted(self.data.sets))
                raise ValueError(f"no data set '{split}' in data.sets; there are: {known}")
        if self.recipe.paired and self.train.mix is not None:
            raise ValueError("recipes with pairs take no train.mix: a mixed pair has no single "
                             "label")
        if self.recipe.paired and self.clean_sets == self.train_sets and self.train.masks is None:
            raise ValueError(f"recipe '{self.recipe.name}' pairs masked pictures with unmasked "
                             f"ones: train on a masked copy (data.sets.NAME.twin_of), or "
                             f"draw masks on {self.train_on} (train.masks)")
        refuse_early_stopping(self)
        check_head_labels(self.recipe.init.labels, self.data.classes)
        weights = self.loss.class_weights
        if isinstance(weights, tuple) and len(weights) != len(self.data.classes):
            raise ValueError(f"loss.class_weights has {len(weights)} numbers for "
                             f"{len(self.data.classes)} classes")
        return self


RunConfig.model_rebuild()


def original_of(name: str, data: Data) -> str:
    """Return the original of a masked copy; the set itself if it is not a copy."""
    seen = [name]
    while (above := data.named(seen[-1]).twin_of) is not None:
        if above not in data.sets:
            raise CallerError(f"data.sets.{seen[-1]}.twin_of is '{above}', which is not a set; "
                              f"there are: {choices(data.sets)}")
        if above in seen:
            raise CallerError(f"data.sets.{seen[-1]}.twin_of: '{above}' is a copy of itself")
        seen.append(above)
    return seen[-1]


def phase_epochs(config: RunConfig, phase: Phase) -> int:
    """Return the maximum number of epochs of a phase."""
    return phase.epochs or config.train.epochs


def trained_epochs(config: RunConfig) -> int:
    """Return the epochs of all phases without early stopping."""
    return sum(phase_epochs(config, phase) for phase in config.recipe.phases)


def all_epochs(config: RunConfig) -> int:
    """Return the epochs of the run without early stopping, or the maximum of combinations."""
    combine = config.recipe.combine
    if combine is not None:
        members = len(combine.of)
        return {"wise_ft": combine.points, "greedy_soup": 2 * members - 1}.get(combine.how, 1)
    return trained_epochs(config)
