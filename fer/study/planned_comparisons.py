"""The smallest difference that the planned comparisons of a study could detect, for `--dry-run`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

from fer.config.run import Data
from fer.config.study import FOLD, Comparison, Study
from fer.errors import plural
from fer.evaluate.planned_power import (
    RECALL,
    SEED_SPREAD,
    Plan,
    PlannedSet,
    detectable_in,
    why_no_claim,
    worth_of,
)
from fer.study.expand import Run
from fer.study.inputs import InputDigests

ASSUMED = (f"power: assumes recalls of {RECALL}, a spread of {100 * SEED_SPREAD:.0f} points "
           "between seeds, and people and pictures as hard as in "
           "benchmarks/interval_simulation.py; the report replaces all that by what was measured")


def power_lines(study: Study, runs: Sequence[Run], data: Data, contents: InputDigests
                ) -> list[str]:
    """Return a line for each planned family and test set, and one on what they assume."""
    wanted = [run for run in runs if run.wanted]
    seeds = Counter(config for config, _ in {(run.config_id, run.config.seed) for run in wanted})
    lines = []
    for name, family in study.compare.items():
        sizes = _sizes(family, _groups(wanted, family.over))
        if sizes is None or not split_known(family, study):
            continue
        plan = Plan(len(seeds), min(seeds.values()), *sizes)
        lines += [f"power: {name} on {split}: {_said(test, plan)}" for split in family.on
                  if (test := planned_set(split, data, contents)) is not None]
    return [*lines, ASSUMED] if lines else []


def split_known(family: Comparison, study: Study) -> bool:
    """Return whether all test sets of a family are evaluated."""
    return all(split in study.evaluate_on for split in family.on)


def _said(test: PlannedSet, plan: Plan) -> str:
    of = f", each a mean of {plan.settings} settings" if plan.settings > 1 else ""
    sizes = (f"{plural(plan.comparisons, 'comparison')}{of}, {plural(plan.seeds, 'seed')}, "
             f"{sum(test.pictures)} pictures of people worth {test.worth:.0f}")
    if why := why_no_claim(test, plan):
        return f"no claim is possible: {why} ({sizes})"
    return (f"a difference in UAR of about {100 * detectable_in(test, plan):.0f} points could be "
            f"detected (80 % power; {sizes})")


def _groups(runs: Sequence[Run], over: str) -> dict[tuple[str, ...], set[str]]:
    """Return the values of grid key `over` by the other settings of the configurations."""
    found: dict[tuple[str, ...], set[str]] = {}
    for run in runs:
        config = run.config
        labels = {"backbone": config.backbone.name, "recipe": config.recipe.name,
                  "train_on": config.train_on, **run.axes}
        if over in labels:
            rest = tuple(f"{key}={value}" for key, value in sorted(labels.items())
                         if key not in (over, "seed", FOLD))
            found.setdefault(rest, set()).add(labels[over])
    return found


def _sizes(family: Comparison, groups: Mapping[tuple[str, ...], set[str]]
           ) -> tuple[int, int] | None:
    """Return the settings of a comparison and the comparisons of a family; None without any."""
    if family.against is None:
        pairs = sum(len(list(combinations(group, 2))) for group in groups.values())
        return (1, pairs * len(family.on)) if pairs else None
    both = Counter(value for group in groups.values() if family.against in group
                   for value in group if value != family.against)
    return (min(both.values()), len(both)) if both else None


def planned_set(split: str, data: Data, contents: InputDigests) -> PlannedSet | None:
    """Return the sizes of a test set; None while it has no pictures.

    A picture of an unknown person is a person.
    """
    people: dict[str, list[int]] = {}
    for picture in contents.listed(split, data):
        row = people.setdefault(picture.identity or picture.id, [0] * len(data.classes))
        row[picture.label] += 1
    support = list(people.values())
    if not support:
        return None
    return PlannedSet(tuple(filter(None, map(sum, zip(*support, strict=True)))), worth_of(support))
