"""Expansion of a study file into its runs: cross the grid, apply exclusions, add parents.

Pure except for reading configuration blocks. `fer.study.plan` finds the missing runs.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fer.config.load import Resolved, apply, locate, read_based, resolve
from fer.config.run import Inputs, RunConfig
from fer.config.run_id import ids
from fer.config.study import Study
from fer.config.yaml_io import Tree
from fer.errors import CallerError
from fer.gc_pause import gc_paused

Digests = Callable[[RunConfig], dict[str, str]]


Kind = tuple[str, str]
"""Names of backbone and recipe."""
Tuned = Mapping[Kind, Mapping[str, Any]]
"""Results of searches: kind -> dotted overrides."""
Identified = dict[int, list["Run"]]
"""`id` of a configuration (kept alive by its child's) -> its ancestors and run."""


@dataclass(frozen=True)
class Run:
    """One run of a study: its resolved configuration, ids, parents and grid position.

    `config.inputs` holds the digests and parent ids from which `id` was derived.
    """

    config: RunConfig
    id: str
    config_id: str
    parents: tuple[str, ...] = ()
    axes: dict[str, str] = field(default_factory=dict, compare=False)
    wanted: bool = True  # False: included only because another run starts from it

    @property
    def name(self) -> str:
        """Name of the run's folder under `runs/`."""
        config = self.config
        return (f"{config.backbone.name}-{config.recipe.name}-{config.train_on}"
                f"-s{config.seed}-{self.id}")


def cells(study: Study) -> list[dict[str, Any]]:
    """Return the overrides of each grid cell that is not excluded, in grid order."""
    keys = list(study.grid)
    for pattern in study.exclude:
        unknown = [key for key in pattern if key not in study.grid]
        if unknown:
            raise CallerError(f"study '{study.study}': exclude names '{unknown[0]}', which is not "
                              f"a grid key; grid keys: {', '.join(keys)}")
    for key, values in study.grid.items():
        named: dict[str, Any] = {}
        for value in values:
            if named.setdefault(_text(value), value) != value:
                raise CallerError(f"study '{study.study}': grid.{key}: two values are named "
                                  f"'{_text(value)}'; give each its own name")
    crossed = [dict(zip(keys, values, strict=True))
               for values in itertools.product(*study.grid.values())]
    kept = [cell for cell in crossed if not any(_matches(cell, p) for p in study.exclude)]
    if not kept:
        raise CallerError(f"study '{study.study}': the grid is empty: every cell is excluded")
    return kept


def idle_exclusions(study: Study) -> list[str]:
    """Return a line for each exclusion without effect: a typo, or a narrowed grid."""
    found = []
    for pattern in study.exclude:
        for key, value in pattern.items():
            present, wanted = study.grid[key], value if isinstance(value, list) else [value]
            if not any(one in present for one in (*wanted, value)):
                found.append(f"exclude: '{key}' is never {' or '.join(map(repr, wanted))} in this "
                             "grid, so that line has no effect")
    return found


def unmeasured_gaps(study: Study) -> list[str]:
    """Return a line for each set of the gap that is not evaluated: a typo, or a narrowed study."""
    named = {} if study.gap is None else {study.gap.synthetic: "synthetic", **dict.fromkeys(
        (pair.real for pair in study.gap.pairs), "real")}
    return [f"gap.{key}: {split} is not in evaluate_on, so the report has no gap"
            + (f" on {split}" if key == "real" else "")
            for split, key in named.items() if split not in study.evaluate_on]


def _matches(cell: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(cell[key] == value or (isinstance(value, list) and cell[key] in value)
               for key, value in pattern.items())


def expand(study: Study, digests: Digests, tuned: Tuned | None = None) -> list[Run]:
    """Return the runs of a study, parents before children, each id once.

    Args:
        study: the study file.
        digests: returns the content digests of a configuration's training and validation splits
            and of its weights file.
        tuned: results of the searches of `study.tuned`.

    Raises:
        CallerError: an empty grid, two cells that are the same run, a mistake in a configuration.
    """
    with gc_paused():
        return parents_first(list(_runs(study, digests, tuned or {}).values()))


def _runs(study: Study, digests: Digests, tuned: Tuned) -> dict[str, Run]:
    base = read_based(locate(study.base))
    parents: Resolved = {}
    known: Identified = {}
    runs: dict[str, Run] = {}
    used: set[Kind] = set()
    for cell in cells(study):
        place = place_of(study, cell)
        config = resolve(_cell(base, study, cell, tuned, used, place), place, parents)
        *ancestors, run = identify(config, digests, study.resources.ranks, known)
        for ancestor in ancestors:
            runs.setdefault(ancestor.id, ancestor)
        if run.id in runs and runs[run.id].axes:
            twin = _label(runs[run.id].axes)
            raise CallerError(f"{place}: the same run as ({twin}); exclude one of the two")
        axes = {key: _text(value) for key, value in cell.items()}
        runs[run.id] = replace(run, axes=axes)
    if left := sorted(tuned.keys() - used):
        raise CallerError(f"study '{study.study}': tuned: a search for {' with '.join(left[0])} is "
                          "named, but no run has that backbone and recipe")
    return runs


def _cell(base: Tree, study: Study, cell: Mapping[str, Any], tuned: Tuned, used: set[Kind],
          place: str) -> Tree:
    """Return the tree of a cell: the base, then tuned values, then the study's own settings."""
    tree = apply(base, {**study.set, **cell}, place)
    kind = (str(tree["backbone"].get("name")), str(tree["recipe"].get("name"))) if tuned else None
    if kind is None or kind not in tuned:
        return tree
    used.add(kind)
    return apply(base, {**tuned[kind], **study.set, **cell}, place)


def _text(value: Any) -> str:
    return str(value.get("name", value)) if isinstance(value, dict) else str(value)


def place_of(study: Study, cell: Mapping[str, Any]) -> str:
    """Return the place that errors in a cell of a study name."""
    return f"study '{study.study}' ({_label(cell)})"


def _label(cell: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={_text(value)}" for key, value in cell.items())


def identify(
    config: RunConfig, digests: Digests, ranks: int = 1, known: Identified | None = None
) -> list[Run]:
    """Return the run of a configuration after its ancestors, each with its ids.

    Args:
        known: results for configurations already identified, with the same number of ranks.
        ranks: world size of the run and its ancestors; part of the id if batch norm is local.
    """
    known = {} if known is None else known
    ancestors: list[Run] = []
    parents: dict[str, Run] = {}
    for role, parent in config.parents.items():
        line = known.get(id(parent)) or identify(parent, digests, ranks, known)
        known[id(parent)] = line
        ancestors += line
        parents[role] = line[-1]
    contents = digests(config)
    inputs = Inputs(digests=contents, parents={role: p.id for role, p in parents.items()})
    run_id, config_id = ids(config, inputs, {r: p.config_id for r, p in parents.items()}, ranks)
    run = Run(config.model_copy(update={"inputs": inputs}), run_id, config_id,
              tuple(parent.id for parent in parents.values()))
    unwanted = [replace(ancestor, wanted=False) for ancestor in ancestors]
    return [*unwanted, run]


def parents_first(runs: Sequence[Run]) -> list[Run]:
    """Return the runs in a stable order in which parents precede their children."""
    by_id = {run.id: run for run in runs}
    placed: dict[str, Run] = {}

    def place(run: Run) -> None:
        if run.id in placed:
            return
        for parent in run.parents:
            place(by_id[parent])
        placed[run.id] = run

    for run in runs:
        place(run)
    return list(placed.values())
