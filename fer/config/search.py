"""Search files: a space of configuration keys, the metric, and the budget.

Sampling configurations from the space is in `fer.search.space`.
"""

import math
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fer.config.base import LONGEST_NAME, Count, Frozen, Positive
from fer.config.study import TIME_PATTERN
from fer.errors import choices

METRICS = ("macro_f1", "uar", "accuracy", "loss")  # on validation, `val_*` in `metrics.jsonl`
KINDS = ("choice", "uniform", "loguniform", "integer")
COMPARED_ON = ("data", "train_on", "train.select", "train.score", "train.folds", "train.fold")
# keys that change what a score means; masks on validation: `fer.search.trial_runs`
DIGITS = 6  # significant digits of a sampled number, so that YAML and tables show it equally


class Domain(Frozen):
    """The domain of one configuration key; exactly one of the four kinds.

    Args:
        choice: a list of values, which may be blocks: `recipe: {choice: [lp_ft, full]}`.
        uniform, loguniform: lower and upper bound.
        integer: lower and upper bound, both inclusive.
        step: between the values of `uniform` (quantised) or `integer`.
        log: for `integer`: sample log-uniformly.
        when: condition: other keys of the space have one of these values.
    """

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    uniform: tuple[float, float] | None = None
    loguniform: tuple[Positive, Positive] | None = None
    integer: tuple[int, int] | None = None
    step: Positive | None = None
    log: bool = False
    when: dict[str, list[Any]] = {}

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list_of_it(cls, when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        return {key: value if isinstance(value, list) else [value] for key, value in when.items()}

    @model_validator(mode="after")
    def _is_one_kind(self) -> "Domain":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(KINDS)}; has "
                             f"{' and '.join(given) or 'none'}")
        if self.choice is not None and any(self.choice.count(v) > 1 for v in self.choice):
            raise ValueError("choice names a value twice")
        if self.step is not None and self.uniform is None and self.integer is None:
            raise ValueError(f"{given[0]} takes no step; uniform and integer do")
        if self.integer is not None and self.step is not None and self.step % 1:
            raise ValueError(f"the step of integer is a whole number, not {self.step}")
        if self.log and (self.integer is None or self.integer[0] < 1 or self.step is not None):
            raise ValueError("log is for integer from 1 on, without step; "
                             "use loguniform for real numbers")
        low, high = self.range or (0, 1)
        if low >= high:
            raise ValueError(f"{given[0]}: [{low}, {high}] is empty: the lower bound comes first")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """Lower and upper bound; None for a choice."""
        return self.uniform or self.loguniform or self.integer

    @property
    def values(self) -> list[Any] | None:
        """All values, in order; None for a continuous domain."""
        if self.choice is not None:
            return list(self.choice)
        if self.integer is not None:
            return list(range(self.integer[0], self.integer[1] + 1, int(self.step or 1)))
        if self.uniform is None or self.step is None:
            return None
        low, high = self.uniform
        count = math.floor((high - low) / self.step * (1 + 1e-9)) + 1
        return [rounded(low + number * self.step) for number in range(count)]

    def at(self, share: float) -> Any:
        """Return the value at a quantile of the domain.

        Args:
            share: the quantile, in [0, 1).
        """
        if self.loguniform is not None:
            low, high = self.loguniform
            return rounded(math.exp(math.log(low) + share * math.log(high / low)))
        if self.integer is not None and self.log:
            low, high = self.integer[0], self.integer[1] + 1
            return min(int(math.exp(math.log(low) + share * math.log(high / low))), high - 1)
        if (values := self.values) is not None:
            return values[int(share * len(values))]
        assert self.uniform is not None
        return rounded(self.uniform[0] + share * (self.uniform[1] - self.uniform[0]))


def rounded(value: float) -> float:
    """Return a number rounded to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


class Scheduler(Frozen):
    """Early stopping of trials.

    `asha` continues the best 1/`reduction` of the trials at `grace`, `grace` x `reduction`, …
    epochs; `median` stops trials worse than the median of the others after `grace` epochs;
    `hyperband` waits for the whole bracket at each of its rungs; `none` stops nothing.
    """

    name: Literal["asha", "median", "hyperband", "none"] = "asha"
    grace: Count = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class Budget(Frozen):
    """Budget of a search, which ends as soon as one of the limits is reached.

    `trials` limits the number of configurations, `epochs` the epochs of all trials together,
    `gpu_hours` the hours of all trials times their GPUs (times 1 on a CPU).
    """

    trials: Count | None = None
    epochs: Count | None = None
    gpu_hours: Positive | None = None


class Finalists(Frozen):
    """The `best` configurations, trained again to the end with each of the `seeds`.

    The mean over the seeds decides. The best of many noisy scores would be biased upwards.
    """

    best: Count = 3
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2)] = [0, 1, 2]

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("names a seed twice")
        return seeds


class TrialResources(Frozen):
    """Resources of one trial and, on a cluster, of the job in which trials run.

    Args:
        gpus: a fraction of one GPU (0.5: two trials share it) or whole GPUs of a node, one DDP
            process each; without a GPU a trial has its `compute.threads` cores.
        nodes: of one trial. With more than one process, each trial is a separate SLURM job.
        slots: concurrent trials: on each node of the search's job, or in the SLURM queue.
        job_nodes: nodes of the search's job, in which single-process trials run.
        time: maximum time limit of the search's job, or of a trial that is a job.
    """

    gpus: Positive = 1
    nodes: Count = 1
    slots: Count = 1
    job_nodes: Count = 1
    time: Annotated[str, Field(pattern=TIME_PATTERN)] = "4:00:00"

    @model_validator(mode="after")
    def _whole_or_less_than_one(self) -> "TrialResources":
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus is a fraction of one GPU or a whole number, not {self.gpus}")
        return self

    @property
    def ranks(self) -> int:
        """Processes that train one trial together."""
        return self.nodes * max(1, int(self.gpus))


class Search(Frozen):
    """A search file, `sweeps/*.yaml`: the configurations to try, and the metric to optimise.

    Args:
        search: its name, and that of its folder under `studies/`.
        base: a configuration file. set: dotted overrides for every trial.
        space: configuration key -> its domain.
        metric: on validation, in the epoch that `train.select` keeps; with `train.folds` pooled
            over the folds. Test splits are refused: they must not be used for selection.
        mode: `max` or `min`; default: as the metric requires.
        searcher: `random` and `grid` need nothing; `optuna` needs `pip install -e ".[optuna]"`.
        seed: of the sampling; the seed of the trials is `set.seed`.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    search: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$",
                             max_length=LONGEST_NAME)]
    base: str
    set: dict[str, Any] = {}
    space: Annotated[dict[str, Domain], Field(min_length=1)]
    metric: str = "macro_f1"
    mode: Literal["max", "min"] | None = None
    searcher: Literal["random", "grid", "optuna"] = "random"
    scheduler: Scheduler = Scheduler()
    seed: Annotated[int, Field(ge=0)] = 0
    budget: Budget = Budget()
    finalists: Finalists | None = None
    resources: TrialResources = TrialResources()

    @property
    def higher_is_better(self) -> bool:
        """Whether the best trial is the one with the highest score."""
        return self.metric != "loss"

    @cached_property
    def ordered(self) -> dict[str, Domain]:
        """The space in the file's order, but with every key after those its conditions name.

        Raises:
            ValueError: circular conditions.
        """
        found: dict[str, Domain] = {}
        waiting = dict(self.space)
        while waiting:
            ready = [key for key, domain in waiting.items() if domain.when.keys() <= found.keys()]
            if not ready:
                raise ValueError(f"space: the conditions (when) of {' and '.join(waiting)} are "
                                 "circular")
            found |= {key: waiting.pop(key) for key in ready}
        return found

    @field_validator("metric")
    @classmethod
    def _is_logged(cls, metric: str) -> str:
        if "/" in metric:
            raise ValueError(f"'{metric}' is of a test split, which must not be used for "
                             f"selection; choose a validation metric: {choices(METRICS)}")
        if metric.removeprefix("val_") not in METRICS:
            raise ValueError(f"'{metric}' is not logged; logged on validation are: "
                             f"{choices(METRICS)}")
        return metric.removeprefix("val_")

    @field_validator("space")
    @classmethod
    def _scores_can_be_compared(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        for key in space:
            if key == "seed":
                raise ValueError("'seed' is not tunable; finalists.seeds repeats the best")
            if any(key == name or key.startswith(f"{name}.") for name in COMPARED_ON):
                raise ValueError(f"'{key}' changes what trials are evaluated on, so their scores "
                                 "would not be comparable; run one search per value")
        return space

    @model_validator(mode="after")
    def _is_consistent(self) -> "Search":
        if self.mode is not None and (self.mode == "max") != self.higher_is_better:
            raise ValueError(f"mode: {self.metric} is best when it is "
                             f"{'highest' if self.higher_is_better else 'lowest'}")
        for key, domain in self.space.items():
            _check_conditions(key, domain, self.space)
            if self.searcher == "grid" and domain.values is None:
                raise ValueError(f"space.{key}: a grid needs a finite domain: choice, integer, "
                                 "or uniform with a step")
        assert len(self.ordered) == len(self.space)
        if self.scheduler.name == "hyperband" and self.resources.ranks > 1:
            raise ValueError("scheduler: hyperband pauses trials, and a trial that is a separate "
                             "job cannot be paused; use asha or median")
        if self.searcher != "grid" and self.budget == Budget():
            raise ValueError("budget: set trials, epochs or gpu_hours; only a grid ends by itself")
        return self


def _check_conditions(key: str, domain: Domain, space: dict[str, Domain]) -> None:
    """Raise a ValueError if a condition can never hold."""
    for other, wanted in domain.when.items():
        if other not in space:
            raise ValueError(f"space.{key}: when names '{other}', which is not a key of the space; "
                             f"there are: {choices(space)}")
        values = space[other].values
        if values is not None and (odd := [value for value in wanted if value not in values]):
            raise ValueError(f"space.{key}: when: '{other}' is never {odd[0]!r}; it is one of: "
                             f"{choices(values)}")
