"""What a search file is: a space over configuration keys, what is best, how long to look for it.

Drawing configurations from the space is `fer.search.space`.
"""

import math
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from fer.config.base import Count, Frozen, Positive
from fer.config.study import TIME_PATTERN
from fer.errors import choices

METRICS = ("macro_f1", "uar", "accuracy", "loss")  # of validation, in `metrics.jsonl` as val_*
KINDS = ("choice", "uniform", "loguniform", "integer")
COMPARED_ON = ("data", "train_on", "train.select")  # what decides which pictures or number judge
DIGITS = 6  # significant ones of a drawn number, so that it reads the same in YAML and in a table


class Domain(Frozen):
    """The values that one configuration key may have; exactly one of the four kinds.

    Args:
        choice: some values; whole blocks too, as in `recipe: {choice: [lp_ft, full]}`.
        uniform, loguniform: lowest and highest number.
        integer: lowest and highest whole number, both possible.
        step: between the values of `uniform` (quantised) or `integer`.
        log: for `integer`: as many draws from 1 to 10 as from 10 to 100.
        when: only where other keys of the space have one of these values.
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
                             "numbers with a point have loguniform")
        low, high = self.range or (0, 1)
        if low >= high:
            raise ValueError(f"{given[0]}: [{low}, {high}] is empty: the lowest comes first")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value; None for a choice."""
        return self.uniform or self.loguniform or self.integer

    @property
    def values(self) -> list[Any] | None:
        """All values, in order; None where there are too many to count."""
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
        """Return the value that lies at a share of the way through the domain.

        Args:
            share: from 0 up to, not including, 1; evenly spread ones give the domain's own spread.
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
    """Return a number with as many digits as a configuration shows."""
    return float(f"{value:.{DIGITS}g}")


class Scheduler(Frozen):
    """Which trials are stopped early.

    `asha` goes on with the best 1/`reduction` of the trials at `grace`, `grace` x `reduction`, …
    epochs; `median` stops what is worse than the median of the others from `grace` epochs on;
    `hyperband` waits for the whole bracket at each of its rungs; `none` stops nothing.
    """

    name: Literal["asha", "median", "hyperband", "none"] = "asha"
    grace: Count = 1
    reduction: Annotated[int, Field(ge=2)] = 3


class Budget(Frozen):
    """When to stop looking: as soon as the first of them is used up.

    `trials` is how many configurations are tried, `epochs` how many epochs of all trials together
    are trained, `gpu_hours` the hours of all trials times their GPUs (times 1 on a CPU).
    """

    trials: Count | None = None
    epochs: Count | None = None
    gpu_hours: Positive | None = None


class Finalists(Frozen):
    """The `best` configurations are trained again to their end with each of the `seeds`.

    The mean over the seeds decides. Without it the best of many noisy numbers would: too good.
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
    """What one trial gets, and on a cluster the job in which trials run.

    Args:
        gpus: a part of one GPU (0.5: two trials share it) or whole ones of a node, as processes
            of DDP; without a GPU in the machine a trial has its `compute.threads` cores.
        nodes: of one trial. With more than one process, each trial is a SLURM job of its own.
        slots: trials at a time: on each node of the search's job, or in the queue of SLURM.
        job_nodes: nodes of the search's job, in which trials of one process run.
        time: the longest that the search's job, or a trial that is one, may ask for.
    """

    gpus: Positive = 1
    nodes: Count = 1
    slots: Count = 1
    job_nodes: Count = 1
    time: Annotated[str, Field(pattern=TIME_PATTERN)] = "4:00:00"

    @model_validator(mode="after")
    def _whole_or_less_than_one(self) -> "TrialResources":
        if self.gpus > 1 and self.gpus % 1:
            raise ValueError(f"gpus is a part of one GPU or a whole number, not {self.gpus}")
        return self

    @property
    def ranks(self) -> int:
        """Processes that train one trial together."""
        return self.nodes * max(1, int(self.gpus))


class Search(Frozen):
    """A search file, `sweeps/*.yaml`: which configurations are tried, and what the best one is.

    Args:
        search: its name, of the folder under `studies/` too.
        base: a configuration file. set: dotted overrides for every trial.
        space: configuration key -> its domain.
        metric: of validation, in the epoch that `train.select` picks. A test split is refused:
            what selects must not measure.
        mode: `max` or `min`; what the metric wants where it is not said.
        searcher: `random` and `grid` need nothing; `optuna` needs `pip install -e ".[optuna]"`.
        seed: of the draws; the trials' own is `set.seed`.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    search: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$")]
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
        """The space with every key after those that its conditions name; the file's order else.

        Raises:
            ValueError: conditions that wait for each other.
        """
        found: dict[str, Domain] = {}
        waiting = dict(self.space)
        while waiting:
            ready = [key for key, domain in waiting.items() if domain.when.keys() <= found.keys()]
            if not ready:
                raise ValueError(f"space: the conditions (when) of {' and '.join(waiting)} wait "
                                 "for each other")
            found |= {key: waiting.pop(key) for key in ready}
        return found

    @field_validator("metric")
    @classmethod
    def _is_logged(cls, metric: str) -> str:
        if "/" in metric:
            raise ValueError(f"'{metric}' is of a test split, which only measures; choose by "
                             f"validation: {choices(METRICS)}")
        if metric.removeprefix("val_") not in METRICS:
            raise ValueError(f"'{metric}' is not logged; logged on validation are: "
                             f"{choices(METRICS)}")
        return metric.removeprefix("val_")

    @field_validator("space")
    @classmethod
    def _scores_can_be_compared(cls, space: dict[str, Domain]) -> dict[str, Domain]:
        for key in space:
            if key == "seed":
                raise ValueError("'seed' is no setting to choose; finalists.seeds repeats the best")
            if any(key == name or key.startswith(f"{name}.") for name in COMPARED_ON):
                raise ValueError(f"'{key}' changes what trials are judged on, so their scores "
                                 "could not be compared; make a search for each value")
        return space

    @model_validator(mode="after")
    def _is_consistent(self) -> "Search":
        if self.mode is not None and (self.mode == "max") != self.higher_is_better:
            raise ValueError(f"mode: {self.metric} is best when it is "
                             f"{'highest' if self.higher_is_better else 'lowest'}")
        for key, domain in self.space.items():
            _check_conditions(key, domain, self.space)
            if self.searcher == "grid" and domain.values is None:
                raise ValueError(f"space.{key}: a grid needs values it can count: choice, integer, "
                                 "or uniform with a step")
        assert len(self.ordered) == len(self.space)
        if self.scheduler.name == "hyperband" and self.resources.ranks > 1:
            raise ValueError("scheduler: hyperband pauses trials, and a trial that is a job of its "
                             "own cannot be paused; asha and median stop them")
        if self.searcher != "grid" and self.budget == Budget():
            raise ValueError("budget: say trials, epochs or gpu_hours; only a grid ends by itself")
        return self


def _check_conditions(key: str, domain: Domain, space: dict[str, Domain]) -> None:
    """Raise where a condition can never hold."""
    for other, wanted in domain.when.items():
        if other not in space:
            raise ValueError(f"space.{key}: when names '{other}', which is no key of the space; "
                             f"there are: {choices(space)}")
        values = space[other].values
        if values is not None and (odd := [value for value in wanted if value not in values]):
            raise ValueError(f"space.{key}: when: '{other}' is never {odd[0]!r}; it is one of: "
                             f"{choices(values)}")
