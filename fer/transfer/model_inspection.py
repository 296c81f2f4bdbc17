"""Size of backbones, and whether recipes and weights files fit them; used for planning.

The inspection needs torch, which launchers do not import: it runs in another process
(`fer.models.inspect`), and results are cached below `$FER_CACHE`. Those of `configs/backbones` are
in the repository, for the code and the libraries that they were made with:

    python -m fer.transfer.model_inspection     # after a change in fer/models
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from fer.atomic_io import write_json
from fer.config.backbone import Backbone
from fer.config.blocks import block_names, load_backbone
from fer.config.load import dump
from fer.config.paths import REPOSITORY
from fer.config.run import RunConfig
from fer.config.weights_file import weights_path
from fer.errors import CallerError
from fer.plain_text import one_line
from fer.safe_path import python
from fer.transfer.phases import check_recipe
from fer.untrusted_io import NotRegular, read_object, record

RECORD = "anatomy.json"
SHIPPED = Path(__file__).with_name("backbone_anatomies.json")
LIBRARIES = ("pytorchcv", "timm", "torchvision")  # a new version may change their networks

CLASSES = 3  # of the results that are in the repository

Anatomy = Mapping[str, Any]  # `fer.models.inspect.Anatomy`


def anatomies(configs: Sequence[RunConfig], cache: Path) -> list[Anatomy]:
    """Return the anatomy of each configuration's backbone and of its initial weights.

    Args:
        cache: `$FER_CACHE`, which contains weights files and cached results.
    """
    return _answers([_question(config, cache) for config in configs], cache)


def anatomies_of_backbones(backbones: Sequence[Backbone], cache: Path) -> list[Anatomy]:
    """Return the anatomy of each backbone with a head of three classes; no weights are read."""
    return _answers([_without_weights(one, CLASSES) for one in backbones], cache)


def shipped_record() -> dict[str, Anatomy]:
    """Return the content of the file `SHIPPED` for this code and the installed libraries."""
    backbones = [load_backbone(name) for name in block_names("backbone")]
    questions = [_without_weights(one, CLASSES) for one in backbones]
    return dict(zip(map(_key, questions), _ask(questions), strict=True))


def _answers(questions: Sequence[dict[str, Any]], cache: Path) -> list[Anatomy]:
    keys = [_key(question) for question in questions]
    file = cache / RECORD
    shipped, known = _read(SHIPPED), _read(file)
    missing = {key: question for key, question in zip(keys, questions, strict=True)
               if key not in known and key not in shipped}
    if missing:
        known |= dict(zip(missing, _ask(list(missing.values())), strict=True))
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    found = {**shipped, **known}
    return [found[key] for key in keys]


def refuse_misfits(configs: Iterable[RunConfig], cache: Path) -> None:
    """Refuse unknown backbones, and recipes or weights files that do not fit.

    Args:
        configs: checked with all parents. Weights files must exist if the configurations have
            their digests.

    Raises:
        CallerError: one line that names the backbone.
    """
    kinds = {(_key(_question(config, cache)), config.recipe.model_dump_json()): config
             for config in _with_parents(configs)}
    chosen = list(kinds.values())
    for config, found in zip(chosen, anatomies(chosen, cache), strict=True):
        if found["problem"]:
            raise CallerError(one_line(found["problem"]))
        try:
            check_recipe(config.recipe, found["stages"], found["layers"])
        except CallerError as error:
            raise CallerError(f"backbone '{config.backbone.name}': {error}") from None


def _with_parents(configs: Iterable[RunConfig]) -> Iterator[RunConfig]:
    for config in configs:
        yield config
        yield from _with_parents(config.parents.values())


def _question(config: RunConfig, cache: Path) -> dict[str, Any]:
    digest = config.inputs.digests.get("weights", "") if config.inputs else ""
    file = config.backbone.pretrained.file if config.backbone.pretrained else None
    if not digest:
        return _without_weights(config.backbone, len(config.data.classes))
    return {"backbone": dump(config.backbone), "classes": list(config.data.classes),
            "weights": str(weights_path(cache, file)) if file else "", "digest": digest,
            "keep_head": config.recipe.init.keep_head, "labels": config.recipe.init.labels}


def _without_weights(backbone: Backbone, classes: int) -> dict[str, Any]:
    """Return the question about a network alone, which depends on the number of classes only."""
    return {"backbone": dump(backbone), "classes": [f"class {n}" for n in range(classes)],
            "weights": "", "digest": "", "keep_head": False, "labels": {}}


def _ask(questions: Sequence[Mapping[str, Any]]) -> list[Anatomy]:
    if "torch" in sys.modules:
        from fer.models.inspect import answer

        return [dict(one) for one in answer([dict(question) for question in questions])]
    done = subprocess.run(python("-m", "fer.models.inspect"), capture_output=True, text=True,
                          input=json.dumps(questions), cwd=REPOSITORY)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CallerError(f"the backbones cannot be inspected: {last}")
    return list(json.loads(done.stdout))


def _key(question: Mapping[str, Any]) -> str:
    library = question["backbone"]["arch"].partition("/")[0]
    text = json.dumps({**question, "weights": ""}, sort_keys=True)
    digest = xxhash.xxh3_64_hexdigest((text + _code() + _version(library)).encode())
    return f"{question['backbone']['name']} {digest}"


@once
def _code() -> str:
    """Return a digest of the code that builds networks; a change invalidates cached results."""
    state = xxhash.xxh3_64()
    for path in sorted((REPOSITORY / "fer" / "models").rglob("*.py")):
        state.update(path.read_bytes())
    return str(state.hexdigest())


@once
def _version(library: str) -> str:
    """Return the version of the library of an architecture; our own are built from pytorchcv."""
    try:
        return version(library if library in LIBRARIES else "pytorchcv")
    except PackageNotFoundError:  # reported by the process that imports it
        return "none"


@dataclass(frozen=True)
class _Known:
    """An anatomy of the cache: `fer.models.inspect.Anatomy`, which needs torch."""

    bytes: int
    trained: int
    stages: list[str]
    parameters: int
    batch_norms: list[int]
    layers: int
    problem: str


def _read(file: Path) -> dict[str, Anatomy]:
    """Return the cached anatomies; without those that are damaged, which are made again."""
    try:
        found = read_object(file)
    except (FileNotFoundError, NotRegular, ValueError):
        return {}
    return {key: one for key, one in found.items() if _is_whole(one)}


def _is_whole(anatomy: object) -> bool:
    try:
        record(_Known, anatomy)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    write_json(SHIPPED, shipped_record())
