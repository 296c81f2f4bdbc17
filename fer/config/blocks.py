"""Backbones and recipes by name: files of `configs/`, or networks of a library."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from fer.config.backbone import Backbone
from fer.config.library_models import imagenet_statistics, is_library, tree_of
from fer.config.paths import REPOSITORY
from fer.config.validate import validate
from fer.config.yaml_io import Tree, read_tree
from fer.errors import CallerError, choices

BLOCK_FOLDERS = {"backbone": REPOSITORY / "configs" / "backbones",
                 "recipe": REPOSITORY / "configs" / "recipes"}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def block_names(key: str) -> list[str]:
    """Return the valid names for `backbone:` or `recipe:`."""
    return sorted(_block_files(key))


def block_label(key: str, name: str) -> str | None:
    """Return the words for a backbone or recipe in reports; None if its file has none."""
    file = _block_files(key).get(name)
    label = read_tree(file).get("label") if file else None
    return label if isinstance(label, str) else None


def with_block(tree: Tree, key: str, place: str) -> Tree:
    """Return `tree` with the name at `key` replaced by the content of its file."""
    name = tree.get(key)
    if not isinstance(name, str):
        return tree
    if key == "backbone" and "/" in name:
        return {**tree, key: of_library(name)}
    file = _block_files(key).get(name)
    if file is None:
        known = choices(block_names(key))
        raise CallerError(f"{place}: {key}: no {key} '{name}'; there are: {known}")
    return {**tree, key: {"name": name, **read_tree(file)}}


def of_library(name: str) -> Tree:
    """Return a backbone of a library: `timm/MODEL`, `torchvision/MODEL`, `pytorchcv/MODEL`.

    The latter two are normalised as for ImageNet, unless the model's weights are named too.
    """
    if is_library(name):
        return tree_of(name)
    own = name.replace("/", "-")
    mean, std = imagenet_statistics(name, IMAGENET_MEAN, IMAGENET_STD)
    return {"name": own, "arch": name, "mean": list(mean), "std": list(std),
            "pretrained": {"source": "file", "file": f"{own}.pth"}}


def load_backbone(name: str) -> Backbone:
    """Return a backbone by name: a file of `configs/backbones`, or `LIBRARY/MODEL`."""
    place = f"backbone {name}"
    return validate(Backbone, with_block({"backbone": name}, "backbone", place)["backbone"], place)


def _block_files(key: str) -> Mapping[str, Path]:
    folder = BLOCK_FOLDERS[key]
    return _yaml_files(folder, folder.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _yaml_files(folder: Path, changed: int) -> Mapping[str, Path]:
    """Return name -> file of the YAML files in a folder; `changed` invalidates the cache."""
    return {path.stem: path for path in folder.glob("*.yaml")}
