"""Folds by person: `train.folds: 5` trains five runs, each validated on its own fold of people.

Together they predict every training picture by a model that was not trained on that person:
the out-of-fold predictions. `train.folds` and `train.fold` are what users write; `data.folds` is
made from them, because splits depend on the data alone. Assigning people is in
`fer.data.identity_split`.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from fer.config.run import RunConfig, original_of
from fer.config.selection import MOST_NOISE, uar_noise
from fer.config.study import FOLD, Study
from fer.config.yaml_io import Tree
from fer.errors import plural

FOLDS = "train.folds"
NOT_ENOUGH = 2 * MOST_NOISE  # standard error of UAR from which folds are recommended


def with_data_folds(tree: Tree) -> Tree:
    """Return the tree of a run with `data.folds` as its `train.folds` and `train.fold` say."""
    train, data = tree.get("train"), tree.get("data")
    if not isinstance(train, dict) or train.get("folds") is None or not isinstance(data, dict):
        return tree
    if not (_is_whole(train["folds"]) and _is_whole(train.get("fold"))
            and 0 <= train["fold"] < train["folds"] > 1):
        return tree  # refused by `fer.config.run.Train`
    return {**tree, "data": {**data, "folds": {"of": train["folds"], "fold": train["fold"]}}}


def without_folds(tree: Tree) -> Tree:
    """Return the tree of a run that is validated as if there were no folds."""
    tree = dict(tree)
    for section, keys in (("train", ("folds", "fold")), ("data", ("folds",))):
        if isinstance(tree.get(section), dict):
            tree[section] = {key: value for key, value in tree[section].items()
                             if key not in keys}
    return tree


def with_folds_of(config: RunConfig, tree: Tree) -> Tree:
    """Return the tree of a parent with the folds of its child, whatever its overrides say."""
    folds, train = config.data.folds, tree.get("train")
    assert folds is not None
    own = {**(train if isinstance(train, dict) else {}), "folds": folds.of, "fold": folds.fold}
    return {**tree, "train": own}


def lineage(config: RunConfig) -> frozenset[str]:
    """Return the families of sets that a run and its ancestors are trained on."""
    return families(config).union(*(lineage(parent) for parent in config.parents.values()))


def families(config: RunConfig) -> frozenset[str]:
    """Return the folders of the original sets that a run is trained on; two sets in one are one."""
    return frozenset(config.data.sets[original_of(name, config.data)].folder
                     for name in (*config.train_sets, *config.clean_sets))


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def folds_in(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> Any:
    """Return `train.folds` of a configuration file with overrides; None without."""
    section = overrides.get("train", tree.get("train"))
    given = section.get("folds") if isinstance(section, dict) else None
    return overrides.get(FOLDS, given)


def grid_over_folds(study: Study, base: Tree) -> Study:
    """Return a study with `train.folds` crossed with its folds; any other unchanged.

    Raises:
        ValueError: `train.folds` cannot be used that way; says why.
    """
    if FOLDS in study.grid:
        raise ValueError(f"grid: {FOLDS} is one number for the whole study: runs of other folds "
                         "are validated on other people. Set it under set, or use two studies")
    folds = folds_in(base, study.set)
    if folds is None:
        return study
    if not _is_whole(folds) or folds < 2:
        raise ValueError(f"{FOLDS}: a whole number from 2 on, not {folds!r}")
    if own := [split for split in study.evaluate_on if split.endswith(("/train", "/val"))]:
        raise ValueError(f"evaluate_on: {own[0]}: with {FOLDS} every run is validated on its own "
                         "fold, and the report pools them; leave it out")
    given = [*study.grid.get(FOLD, ()), *([study.set[FOLD]] if FOLD in study.set else [])]
    if wrong := [one for one in given if not (_is_whole(one) and 0 <= one < folds)]:
        raise ValueError(f"{FOLD}: {wrong[0]!r} is none of the folds 0 to {folds - 1}")
    if given:
        return study
    return study.model_copy(update={"grid": {**study.grid, FOLD: list(range(folds))}})


def folds_advice(people: int, validated: int) -> str:
    """Return a line that recommends folds where validation is too small; empty otherwise.

    Where the standard error of UAR on validation exceeds twice the difference that choices are
    about (3 points, `MOST_NOISE`), the better of two models with that difference is chosen in about
    two of three cases; on all people together nine of ten are right.

    Args:
        people: in training and validation together; a picture of an unknown person counts as one.
        validated: of them, in validation.
    """
    if not validated or uar_noise(validated) <= NOT_ENOUGH:
        return ""
    return (f"validation has {plural(validated, 'person')}: UAR on it has a standard error of "
            f"about {100 * uar_noise(validated):.0f} points. To choose recipes or "
            f"hyper-parameters, {FOLDS}: 5 validates on all {people:,} (about "
            f"{100 * uar_noise(people):.0f} points)")
