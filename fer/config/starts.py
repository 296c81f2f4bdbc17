"""Defaults of a run by its starting point: random weights, a head on fixed features, pretrained.

They lie below every configuration file, so whatever a file says of them wins.
"""

from fer.config.paths import REPOSITORY
from fer.config.yaml_io import Tree, merge, read_tree, set_key
from fer.errors import CallerError

FOLDER = REPOSITORY / "configs" / "starts"
RECIPES = REPOSITORY / "configs" / "recipes"


def with_defaults(tree: Tree) -> Tree:
    """Return the tree of a run over the defaults of its recipe and those of its starting point."""
    recipe = tree.get("recipe")
    if not isinstance(recipe, dict):
        return tree
    below = read_tree(FOLDER / f"{starting_point(recipe)}.yaml")
    defaults = recipe.get("defaults")
    for key, value in defaults.items() if isinstance(defaults, dict) else ():
        set_key(below, key, value)
    return merge(below, tree)


def starting_point(recipe: Tree) -> str:
    """Return `scratch`, `head_only` or `pretrained`, the name of a file in `configs/starts`."""
    init, phases = recipe.get("init"), recipe.get("phases") or []
    source = init.get("source", "scratch") if isinstance(init, dict) else "scratch"
    if source == "scratch" and phases:
        return "scratch"
    trained = [phase.get("train") for phase in phases if isinstance(phase, dict)]
    return "head_only" if trained and all(one == ["head"] for one in trained) else "pretrained"


def default_keys(recipe: str) -> list[str]:
    """Return the dotted keys that a recipe of the project sets by default."""
    try:
        defaults = read_tree(RECIPES / f"{recipe}.yaml").get("defaults")
    except (CallerError, OSError):  # of a study's own, or of an older version
        return []
    return list(defaults) if isinstance(defaults, dict) else []
