"""Files that map labels of a data set or a checkpoint to classes: reading, and maps for a head.

`configs/labels/` has the usual ones. What a map means for pictures is in
`fer.data.ingest.label_map`; mapping a class layer is in `fer.models.fit_tensors`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fer.config.paths import REPOSITORY, path_problem
from fer.config.yaml_io import Tree, merge, read_tree
from fer.errors import CallerError, choices
from fer.plain_text import shortened

DROP = "drop"
FOLDER = REPOSITORY / "configs" / "labels"


def read_label_file(name: str) -> tuple[Path, dict[str, str]]:
    """Return the file of a label map, and its label -> class or `drop`.

    Args:
        name: a file, or the name of one in `configs/labels`.

    Raises:
        CallerError: no such map, or a file that is none.
    """
    if problem := path_problem(name):
        raise CallerError(f"label map {shortened(name)}: {problem}")
    file = next((path for path in (Path(name), FOLDER / f"{name}.yaml") if path.is_file()), None)
    if file is None:
        maps = choices(path.stem for path in FOLDER.glob("*.yaml"))
        raise CallerError(f"no label map '{name}': neither a file nor one of: {maps}")
    tree = read_tree(file)
    entries = tree.get("classes")
    if not isinstance(entries, dict) or not entries or set(tree) != {"classes"}:
        raise CallerError(f"{file}: a label map has one key, 'classes', with a line for each label")
    return file, {str(label): str(cls) for label, cls in entries.items()}


def with_label_map(tree: Tree, place: str) -> Tree:
    """Return the tree of a run with the name at `recipe.init.labels` replaced by its content.

    The content, not the name, is part of the run id.
    """
    recipe = tree.get("recipe")
    init = recipe.get("init") if isinstance(recipe, dict) else None
    name = init.get("labels") if isinstance(init, dict) else None
    if not isinstance(name, str):
        return tree
    try:
        labels = read_label_file(name)[1]
    except CallerError as error:
        raise CallerError(f"{place}: recipe.init.labels: {error}") from None
    found = merge({}, tree)
    found["recipe"]["init"] = {**found["recipe"]["init"], "labels": labels}
    return found


def check_head_labels(labels: Mapping[str, str], classes: Sequence[str]) -> None:
    """Raise a `ValueError` if a map for a head names other classes than the run's."""
    if fault := unknown_class(labels, classes):
        raise ValueError(f"recipe.init.labels: {fault}")


def unknown_class(labels: Mapping[str, str], classes: Sequence[str]) -> str:
    """Return a sentence on the first label that is mapped to none of `classes`; empty if none."""
    wrong = next((f"{label}: {cls}" for label, cls in labels.items()
                  if cls not in (*classes, DROP)), None)
    return f"'{wrong}' names no class; there are: {choices([*classes, DROP])}" if wrong else ""
