"""Loading of typed run configurations, with their parents, from YAML files and overrides.

A configuration file may name a `base` file, and `backbone:` and `recipe:` may be names of files
in `configs/backbones` and `configs/recipes`. The resolved configuration contains all of them.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from fer.config.base import Frozen
from fer.config.blocks import BLOCK_FOLDERS, with_block
from fer.config.compatibility import refuse_other_pictures, require_shared_start
from fer.config.fold_grid import (
    families,
    grid_over_folds,
    lineage,
    with_data_folds,
    with_folds_of,
    without_folds,
)
from fer.config.label_files import with_label_map
from fer.config.paths import REPOSITORY, path_problem
from fer.config.run import RunConfig
from fer.config.search import Search
from fer.config.selection import renewed, select_of
from fer.config.starts import with_defaults
from fer.config.study import Study
from fer.config.validate import validate
from fer.config.yaml_io import Tree, merge, read_tree, set_key
from fer.errors import CallerError
from fer.plain_text import shortened

MAX_ANCESTORS = 8
SHARED_WITH_PARENT = {"backbone", "data", "compute", "keep"}  # with the pretraining run
Resolved = dict[str, RunConfig]
Model = TypeVar("Model", bound=Frozen)
Sweep = TypeVar("Sweep", Study, Search)
HOW = {"study": "python launch/sweep.py", "search": "python launch/tune.py"}


def locate(file: str | Path, beside: Path | None = None) -> Path:
    """Return the path of a configuration file, relative to cwd, `beside` or the repository.

    Raises:
        CallerError: no file can have this path.
    """
    if problem := path_problem(str(file)):
        raise CallerError(f"{shortened(str(file))}: {problem}")
    try:
        path = Path(file).expanduser()
    except RuntimeError:
        raise CallerError(f"{file}: there is no such user, or no home directory") from None
    places = [Path.cwd(), *([beside.parent] if beside else []), REPOSITORY]
    found = next((place / path for place in places if (place / path).is_file()), None)
    return found or (REPOSITORY / path)


def read_based(path: Path, seen: tuple[Path, ...] = ()) -> Tree:
    """Return the tree of a file merged over those of its `base` files."""
    path = path.resolve()
    if path in seen:
        chain = " -> ".join(file.name for file in (*seen, path))
        raise CallerError(f"{path}: its base files form a loop: {chain}")
    tree = renewed(read_tree(path))
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise CallerError(f"{path}: 'base' must be the name of a file, not {base!r}")
    below = read_based(locate(base, path), (*seen, path))
    for key in BLOCK_FOLDERS:  # keys of a block that the base names: `backbone: {input_size: 64}`
        if isinstance(tree.get(key), dict) and "name" not in tree[key]:
            below = with_block(below, key, str(path))
    return merge(below, tree)


def apply(tree: Tree, overrides: Mapping[str, Any], place: str) -> Tree:
    """Return `tree` with dotted overrides applied, blocks before the keys inside them."""
    tree = merge({}, tree)
    for key in sorted(overrides, key=lambda key: key.count(".")):
        if "." in key:
            for block in BLOCK_FOLDERS:
                tree = with_block(tree, block, place)
        set_key(tree, key, overrides[key])
        if key in ("train", "train.select"):
            tree = renewed(tree)
    for block in BLOCK_FOLDERS:
        tree = with_block(tree, block, place)
    return tree


def resolve(tree: Tree, place: str, known: Resolved | None = None, depth: int = 0,
            validated: frozenset[str] = frozenset()) -> RunConfig:
    """Return the typed configuration of `tree`, including its parents' configurations.

    Args:
        known: cache of resolved parents, which many runs share.
        validated: with folds, the families of sets of the runs that start from this one: an
            ancestor of any of them must not see people that they are validated on.
    """
    if depth > MAX_ANCESTORS:
        raise CallerError(f"{place}: the recipe's parents form a loop (recipe.init.set, "
                          "recipe.teacher.set)")
    config = validate(
        RunConfig, with_label_map(with_data_folds(with_defaults(tree)), place), place)
    if config.recipe.phases:  # a stored configuration is not to depend on the default
        selected = config.train.model_copy(update={"select": select_of(config)})
        config = config.model_copy(update={"train": selected})
    if config.parents:
        return config
    known = {} if known is None else known
    parents: Resolved = {}
    for role, (key, parent) in _parents(config, tree, place).items():
        if config.data.folds is not None:
            seen = validated | families(config)
            key = f"{config.data.folds} {sorted(seen)} {key}"
            if key not in known:
                known[key] = _folded_parent(parent(), config, f"{place} ({role})", known,
                                            depth + 1, seen)
        elif key not in known:
            known[key] = resolve(parent(), f"{place} ({role})", known, depth + 1)
        parents[role] = known[key]
    if "teacher" in parents:
        refuse_other_pictures(config, parents["teacher"], place)
    if config.recipe.combine is not None:
        require_shared_start(config, list(parents.values()), place)
    return config.model_copy(update={"parents": parents}) if parents else config


def _folded_parent(tree: Tree, config: RunConfig, place: str, known: Resolved, depth: int,
                   validated: frozenset[str]) -> RunConfig:
    """Return a parent of a run with folds: on the same folds, unless it shares no set with it."""
    found = resolve(with_folds_of(config, tree), place, known, depth, validated)
    if validated & lineage(found):
        return found
    return resolve(without_folds(tree), place, known, depth)


def _parents(config: RunConfig, tree: Tree, place: str
             ) -> dict[str, tuple[str, Callable[[], Tree]]]:
    """Return, for each parent role, a cache key and a function that returns the parent's tree."""
    found: dict[str, tuple[str, Callable[[], Tree]]] = {}

    def changed(overrides: Mapping[str, Any]) -> tuple[str, Callable[[], Tree]]:
        copy = _changed_copy(tree, overrides, place)
        return json.dumps(copy, sort_keys=True, default=str), lambda: copy

    if config.recipe.init.source == "run":
        found["init"] = changed(config.recipe.init.set)
    elif _starts_from_a_run(config, place):
        found["init"] = (config.model_dump_json(include=SHARED_WITH_PARENT),
                         lambda: _pretraining(config, place))
    if config.recipe.teacher is not None:
        found["teacher"] = changed(config.recipe.teacher.set)
    for number, overrides in enumerate(config.recipe.combine.of if config.recipe.combine else ()):
        found[f"member{number}"] = changed(overrides)
    return found


def _starts_from_a_run(config: RunConfig, place: str) -> bool:
    """Return whether the backbone's weights come from a run that is trained first."""
    init, pretrained = config.recipe.init, config.backbone.pretrained
    if init.source != "pretrained":
        return False
    if pretrained is None:
        raise CallerError(f"{place}: recipe '{config.recipe.name}' starts from pretrained weights, "
                          f"but backbone '{config.backbone.name}' has none (backbone.pretrained)")
    return pretrained.source == "run"


def _changed_copy(tree: Tree, overrides: Mapping[str, Any], place: str) -> Tree:
    """Return the tree of a run with the overrides that turn it into its parent."""
    own = {key: value for key, value in tree.items() if key not in ("inputs", "parents")}
    return apply(own, overrides, place)


def _pretraining(config: RunConfig, place: str) -> Tree:
    """Return the run that trains a backbone's initial weights; depends only on shared keys."""
    pretrained = config.backbone.pretrained
    assert pretrained is not None and pretrained.base is not None
    shared = config.model_dump(mode="json", include=SHARED_WITH_PARENT)
    return apply(merge(read_based(locate(pretrained.base)), shared), pretrained.set, place)


def load_run(file: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the run configuration of a YAML file with dotted overrides."""
    path = locate(file)
    refuse_other_kind(file)
    return resolve(apply(read_based(path), overrides or {}, str(path)), str(path))


def refuse_other_kind(file: str | Path) -> None:
    """Refuse a study or a search where a run's configuration is expected; imports no torch.

    Raises:
        CallerError: names the command that runs it.
    """
    path = locate(file)
    kind = next((name for name in HOW if name in read_tree(path)), None)
    if kind is not None:
        raise CallerError(f"{path} is a {kind}, not the configuration of one run: {HOW[kind]} "
                          f"{file}")


def load_study(file: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Return the study of a YAML file.

    An override that begins with a key of a study (`grid.seed`, `resources.gpus`) sets that key;
    any other override applies to every run, through `set`.
    """
    study = _load(Study, "study", file, overrides)
    try:
        study = grid_over_folds(study, read_based(Path(study.base)))
    except ValueError as error:
        raise CallerError(f"{locate(file)}: {error}") from None
    narrowed = any(key.split(".")[0] in ("grid", "evaluate_on") for key in overrides or {})
    if fault := study.misplanned(whole=not narrowed):
        raise CallerError(f"{locate(file)}: {fault}")
    return study


def load_search(file: str | Path, overrides: Mapping[str, Any] | None = None) -> Search:
    """Return the search of a YAML file; overrides as in `load_study`."""
    return _load(Search, "search", file, overrides)


def _load(model: type[Sweep], kind: str, file: str | Path, overrides: Mapping[str, Any] | None
          ) -> Sweep:
    path = locate(file)
    tree = _like(path)
    if kind not in tree:
        other = next((name for name in HOW if name in tree), None)
        hint = f"; it is a {other}: {HOW[other]} {file}" if other else ""
        raise CallerError(f"{path}: not a {kind} file: the key '{kind}' is missing{hint}")
    for key, value in (overrides or {}).items():
        if key.split(".")[0] in model.model_fields and key != "set":
            _set_own_key(tree, key, value)
        else:
            tree["set"] = {**(tree.get("set") or {}), key: value}
    found = validate(model, tree, str(path))
    base = locate(found.base, path)
    if not base.is_file():
        raise CallerError(f"{path}: base: no such file: {found.base}")
    return found.model_copy(update={"base": str(base)})


def _like(path: Path) -> Tree:
    """Return the tree of a study or search merged over that of its `like` file."""
    tree = read_tree(path)
    like = tree.pop("like", None)
    if like is None:
        return tree
    if not isinstance(like, str) or locate(like, path).resolve() == path.resolve():
        raise CallerError(f"{path}: 'like' must be the name of another file, not {like!r}")
    return merge(read_tree(locate(like, path)), tree)


def _set_own_key(tree: Tree, key: str, value: Any) -> None:
    """Set a key of a study or a search; keys of a grid or a space are dotted themselves."""
    head, _, rest = key.partition(".")
    if head == "grid" and rest:
        tree.setdefault("grid", {})[rest] = value if isinstance(value, list) else [value]
    elif head == "space" and rest:
        tree.setdefault("space", {})[rest] = value
    else:
        set_key(tree, key, value)


def dump(model: BaseModel) -> Tree:
    """Return a model as plain YAML values under the keys used in files."""
    return model.model_dump(mode="json", by_alias=True)
