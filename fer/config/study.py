"""Study files: a grid of runs, the test sets, and the planned comparisons.

Expanding a study into runs is in `fer.study.expand`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from fer.config.base import LONGEST_NAME, Count, Frozen

RUN_KEYS = ("backbone", "recipe", "train_on")  # of every run; seeds are not compared
FOLD = "train.fold"  # grid key of folds by person: `fer.config.fold_grid`
MEMORY_PATTERN = r"^\d+[KMGT]$"
MOST_VALUES = 10_000  # of one key of a grid
TIME_PATTERN = r"^(\d+-\d{1,2}(:\d{2}){0,2}|\d{1,4}(:\d{2}){1,2})$"
Split = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]+/[a-z]+$")]

Splits = Split | Annotated[list[Split], Field(min_length=1)]


def listed(splits: str | list[str]) -> list[str]:
    """Return one split or several as a list."""
    return [splits] if isinstance(splits, str) else splits


def minutes(time: str) -> int:
    """Return a SLURM time limit in whole minutes, rounded up.

    Args:
        time: `hours:minutes:seconds`, `minutes:seconds`, or `days-hours[:minutes[:seconds]]`.
    """
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, mins, seconds = [*parts, 0, 0][:3]
    else:
        hours, mins, seconds = [0, *parts][-3:]
    return int(days or 0) * 1440 + hours * 60 + mins + (seconds > 0)


class Control(Frozen):
    """Unmasked pictures from the same sources (people, cameras) as the two sets of a gap.

    A difference between `synthetic` and `real` on these is not an effect of masks. Where a gap has
    several real sets, `real` lists as many.
    """

    synthetic: Split
    real: Splits


class GapPair(NamedTuple):
    """One synthetic and one real set, and the control splits of their sources, if any."""

    synthetic: str
    real: str
    control: tuple[str, str] | None = None

    @property
    def sets(self) -> list[tuple[float, str]]:
        """Sign and name of each set of the difference synthetic minus real."""
        return [(1.0, self.synthetic), (-1.0, self.real)]

    @property
    def net_sets(self) -> list[tuple[float, str]]:
        """The same minus the difference between the unmasked pictures, where there are any."""
        one, two = self.control or ("", "")
        return [*self.sets, (-1.0, one), (1.0, two)] if self.control else self.sets


class Gap(Frozen):
    """The gap is `synthetic` minus `real` performance of the same model.

    Several `real` sets have a gap each; the first is the main one. With a `control` the gap is a
    difference in differences: net of the difference of the same models between unmasked pictures
    from the same two sources. Without the key, a study takes the unmasked pictures that are on disk
    (`fer.study.control`); `control: null` takes none.
    """

    synthetic: Split
    real: Splits
    control: Control | None = None

    @model_validator(mode="after")
    def _one_control_each(self) -> "Gap":
        if self.control and len(listed(self.control.real)) != len(listed(self.real)):
            raise ValueError("control.real: as many splits as gap.real are required, in its order")
        return self

    @property
    def pairs(self) -> tuple[GapPair, ...]:
        """The gap of each real set."""
        one = self.control
        return tuple(GapPair(self.synthetic, real, (one.synthetic, listed(one.real)[place])
                             if one else None) for place, real in enumerate(listed(self.real)))


class Comparison(Frozen):
    """One family of planned comparisons: the values of grid key `over`, on each split of `on`.

    With `against` every other value is compared with that one, on average over the other grid keys,
    and p is adjusted over the values on each split; without it all pairs are compared.
    """

    over: str
    against: Annotated[str | None, BeforeValidator(lambda value: value if value is None else
                                                   str(value))] = None
    on: Annotated[list[Split], Field(min_length=1)]


class ResourceRule(Frozen):
    """Other resources for runs that match: `match` gives values, or lists of them, of labels.

    `memory` is that of a node, `cpus` the cores of a rank.
    """

    match: Annotated[dict[Literal["backbone", "recipe", "train_on", "seed"], Any],
                     Field(min_length=1)]
    memory: Annotated[str | None, Field(pattern=MEMORY_PATTERN)] = None
    time: Annotated[str | None, Field(pattern=TIME_PATTERN)] = None
    cpus: Count | None = None

    def matches(self, labels: Mapping[str, Any]) -> bool:
        """Return whether a run with these labels matches."""
        return all(labels[key] in (value if isinstance(value, list) else [value])
                   for key, value in self.match.items())


class Resources(Frozen):
    """Resources of one run, and the number of runs in one job.

    `gpus` is per node; `time` is the maximum time limit of a job, and a longer run continues in the
    next job. A job has `runs_at_once` runs side by side, each with its own GPU and cores, in as
    many sequences of at most `runs_per_job`. Of the rules in `for`, the last that sets a value and
    matches a run counts.
    """

    gpus: Count = 1
    nodes: Count = 1
    runs_per_job: Count = 1
    runs_at_once: Count = 1
    time: Annotated[str, Field(pattern=TIME_PATTERN)] = "4:00:00"
    rules: Annotated[list[ResourceRule], Field(alias="for")] = []

    @model_validator(mode="after")
    def _one_gpu_side_by_side(self) -> "Resources":
        if self.runs_at_once > 1 and self.ranks > 1:
            raise ValueError("runs_at_once: runs side by side have one GPU each; set gpus and "
                             "nodes to 1")
        return self

    def own(self, labels: Mapping[str, Any]) -> ResourceRule:
        """Return what the rules set for a run with these labels."""
        found = ResourceRule(match={"seed": labels["seed"]})
        for rule in self.rules:
            if rule.matches(labels):
                found = found.model_copy(update={
                    key: value for key in ("memory", "time", "cpus")
                    if (value := getattr(rule, key)) is not None})
        return found

    @property
    def ranks(self) -> int:
        """Processes that train one run together: one per GPU."""
        return self.nodes * self.gpus


class Study(Frozen):
    """A study file, `sweeps/*.yaml`.

    `exclude` removes the grid cells that match all values of one of its items; a list matches any
    of its values. `baselines` names, in the same way, the configurations that the line of effective
    robustness is fitted to.
    `tuned` names searches (`launch/tune.py`): runs with a search's backbone and recipe use the best
    hyper-parameters it found, unless `set` or the grid overrides them.
    """

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$",
                             max_length=LONGEST_NAME)]
    base: str
    grid: Annotated[dict[str, list[Any]], Field(min_length=1)]
    exclude: list[dict[str, Any]] = []
    set: dict[str, Any] = {}
    evaluate_on: Annotated[list[Split], Field(min_length=1)]
    gap: Gap | None = None
    compare: dict[str, Comparison] = {}
    baselines: list[dict[str, Any]] = []
    resources: Resources = Resources()
    tuned: list[str] = []

    @model_validator(mode="after")
    def _gap_is_measured(self) -> "Study":
        missing = [split for pair in (self.gap.pairs if self.gap else ())
                   for split in pair.control or () if split not in self.evaluate_on]
        if missing:
            raise ValueError(f"gap.control: {missing[0]} is not in evaluate_on")
        return self

    def misplanned(self, whole: bool) -> str:
        """Return the first error in the planned comparisons, or an empty string.

        Not a validator: finished studies must stay readable, and the report lists comparisons that
        are impossible.

        Args:
            whole: whether test sets must be in `evaluate_on`, and baselines in the grid.
        """
        keys = [*RUN_KEYS, *(key for key in self.grid
                             if key not in (*RUN_KEYS, "seed", FOLD))]
        for name, plan in self.compare.items():
            if plan.over not in keys:
                return (f"compare.{name}.over: no grid key '{plan.over}'; there are: "
                        f"{', '.join(keys)}")
            values = [str(value.get("name", value) if isinstance(value, dict) else value)
                      for value in self.grid.get(plan.over, [])]
            if whole and plan.against is not None and values and plan.against not in values:
                return (f"compare.{name}.against: {plan.over} has no value '{plan.against}'; there "
                        f"are: {', '.join(values)}")
            lost = [split for split in plan.on if split not in self.evaluate_on]
            if lost and whole:
                return (f"compare.{name}.on: {lost[0]} is not in evaluate_on, which has: "
                        f"{', '.join(self.evaluate_on)}; one of the two is wrong")
        return ""

    @field_validator("grid")
    @classmethod
    def _axes_have_values(cls, grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in grid.items():
            if not values:
                raise ValueError(f"grid key '{key}' has no values, so the study has no runs")
            if key.startswith("data.resplit") or any(
                    key == "data" and isinstance(value, dict) and "resplit" in value
                    for value in values):
                raise ValueError(f"grid key '{key}': all runs of a study are evaluated on the same "
                                 "pictures, so each fold needs a separate study: study=NAME-fold0 "
                                 "data.resplit.fold=0, and so on")
            if len(values) > MOST_VALUES:
                raise ValueError(f"grid key '{key}' has {len(values):,} values; at most "
                                 f"{MOST_VALUES:,}")
            if any(values.count(value) > 1 for value in values):
                raise ValueError(f"grid key '{key}' names a value twice, which repeats runs")
        return grid
