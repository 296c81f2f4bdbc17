"""Networks and weights of timm and torchvision by name, without importing either; no torch.

`timm/NAME[.WEIGHTS]` and `torchvision/NAME.WEIGHTS` are looked up in a catalogue that a child
process makes (`fer.config.library_catalogue`), once per version of the libraries; it is kept below
`$FER_CACHE`. `timm/hf_hub:ORG/NAME[@REVISION]` is read from the `config.json` that
`launch/weights.py fetch` left there. Networks are built in `fer.models`.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xxhash

from fer.atomic_io import write_json
from fer.config.paths import REPOSITORY, cache
from fer.config.weights_file import DEFAULT_FILE, weights_path
from fer.config.yaml_io import Tree
from fer.errors import CallerError, choices
from fer.plain_text import shortened
from fer.safe_path import python
from fer.untrusted_io import as_object, parse_json, read_object, read_text

RECORD = "library_models.json"
MAKER = "fer.config.library_catalogue"
HUB = "timm/hf_hub:"
HUB_PAGE = "https://huggingface.co/"
CONFIG = "config.json"  # of a model of the hub
IGNORED = frozenset(("img_size", "in_chans", "num_classes"))  # of its arguments: set by the run
MAX_CONFIG = 1_000_000  # bytes of a config.json, which may name 22,000 classes
_HUB_NAME = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
                       r"(@(?P<revision>[\w.-]+))?", re.ASCII)
NEAREST = 5
SCALED = ("torchvision/googlenet", "torchvision/inception_v3")
HALF = (0.5, 0.5, 0.5)

Catalogue = dict[str, dict[str, Any]]


def is_library(name: str) -> bool:
    """Return whether `tree_of` knows a backbone's name; others are named by architecture alone."""
    library, _, model = name.partition("/")
    return library == "timm" or (library == "torchvision" and "." in model)


def tree_of(name: str) -> Tree:
    """Return a backbone of timm or torchvision, with the preprocessing of its weights.

    The input size, mean and standard deviation are those that its published weights were trained
    with (timm's `pretrained_cfg`, torchvision's transforms); their crop, interpolation and test
    size do not apply here. Where no weights are published, it starts from random ones.

    Args:
        name: `timm/NAME`, `timm/NAME.WEIGHTS`, `timm/hf_hub:ORG/NAME[@REVISION]` or
            `torchvision/NAME.WEIGHTS`.

    Raises:
        CallerError: an unknown name, with the nearest ones; or a model of the hub that was not
            fetched.
    """
    if name.startswith(HUB):
        return _of_hub(name)
    library, _, model = name.partition("/")
    arch, dot, tag = model.partition(".")
    if not arch:
        raise CallerError(f"backbone '{name}' names no model, such as {library}/resnet18")
    networks = catalogue()[library]
    if arch not in networks:
        near = get_close_matches(model, networks, NEAREST, 0.4) or get_close_matches(
            arch, networks, NEAREST, 0.0)
        raise CallerError(f"{library} has no model '{shortened(model)}'; similar: "
                          f"{', '.join(near)}")
    published = networks[arch]
    if dot and (not tag or tag not in published):
        known = choices(name for name in published if name)
        raise CallerError(f"{library}'s '{arch}' has no weights '{shortened(tag)}'; "
                          f"{f'there are: {known}' if known else 'none are published'}")
    return _tree(name, f"{library}/{arch}", published[tag or next(iter(published))])


def imagenet_statistics(arch: str, mean: Sequence[float], std: Sequence[float]
                        ) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and deviation of intensities with which a network was trained on ImageNet.

    torchvision's builders of GoogLeNet and Inception undo ImageNet's normalisation within the
    network when they load weights (`transform_input`), which ours do not.
    """
    return (HALF, HALF) if arch in SCALED else (mean, std)


def weights_of(name: str) -> list[str]:
    """Return the names with which a network of timm or torchvision has published weights."""
    library, _, model = name.partition("/")
    arch = model.partition(".")[0]
    if library == "pytorchcv" or name.startswith(HUB):
        return []
    return [f"{library}/{arch}.{tag}" for tag, known in catalogue()[library].get(arch, {}).items()
            if tag and known["file"]]


def catalogue() -> Catalogue:
    """Return library -> architecture -> name of its weights -> what is known; defaults first.

    Raises:
        CallerError: the libraries cannot be imported.
    """
    return _catalogue(cache() / RECORD, _versions())


@lru_cache(maxsize=2)
def _catalogue(record: Path, key: str) -> Catalogue:
    if "torch" in sys.modules:  # quicker than another process
        from fer.config.library_catalogue import make

        return make()
    try:
        kept = read_object(record)
        if kept["key"] == key:
            return dict(kept["libraries"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    done = subprocess.run(python("-m", MAKER), capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise CallerError(f"timm and torchvision cannot be listed: {last}")
    found: Catalogue = parse_json(done.stdout)
    record.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, {"key": key, "libraries": found})
    return found


@lru_cache(maxsize=1)
def _versions() -> str:
    """Return a digest of the libraries' versions and of the code that lists them."""
    state = xxhash.xxh3_64((Path(__file__).parent / "library_catalogue.py").read_bytes())
    for library in ("timm", "torchvision"):
        try:
            state.update(version(library).encode())
        except PackageNotFoundError:
            raise CallerError(f"{library} is not installed: pip install {library}") from None
    return str(state.hexdigest())


def _tree(name: str, arch: str, known: Tree) -> Tree:
    """Return the tree of a backbone from an entry of the catalogue."""
    file = known["file"]
    start = {"source": "file", "file": file, "licence": known.get("licence"),
             "origin": known.get("origin")}
    options = {"options": known["options"]} if known.get("options") else {}
    return {"name": own_name(name), "arch": arch, "input_size": known["input_size"],
            "mean": known["mean"], "std": known["std"], **options,
            "pretrained": start if file else None}


def own_name(name: str) -> str:
    """Return the name of a backbone in folders and tables, without the hub's separators."""
    return re.sub(r"[/:@]", "-", name)


def _of_hub(name: str) -> Tree:
    """Return the backbone that the `config.json` of a model of the hub describes."""
    repository, _ = hub_parts(name)
    path = weights_path(cache(), hub_file(name, CONFIG))
    try:
        config = as_object(parse_json(read_text(path, MAX_CONFIG)), CONFIG)
        known = as_object(config.get("pretrained_cfg", config), "pretrained_cfg")
        arguments = as_object(config.get("model_args") or {}, "model_args")
        options = {key: value for key, value in arguments.items()
                   if key not in IGNORED and value is not None}
        arch = str(config["architecture"]).partition(".")[0]
        side = arguments.get("img_size") or known["input_size"][1:]
        if isinstance(side, list) and len(set(side)) != 1:
            raise ValueError(f"pictures of {side} pixels; only square ones are supported")
        entry = {"input_size": side[0] if isinstance(side, list) else side,
                 "mean": known["mean"], "std": known["std"],
                 "options": options, "licence": _words(known.get("license")),
                 "origin": HUB_PAGE + repository, "file": hub_file(name, DEFAULT_FILE)}
    except FileNotFoundError:
        raise CallerError(f"backbone '{name}': its {CONFIG} is not in {path.parent}; on a machine "
                          f"with network: python launch/weights.py fetch {name}") from None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CallerError(f"{path}: not the configuration of a model of timm "
                          f"({type(error).__name__}: {shortened(str(error))})") from None
    if arch not in catalogue()["timm"]:
        raise CallerError(f"{path}: this timm has no architecture '{shortened(arch)}'")
    return _tree(name, f"timm/{arch}", entry)


def _words(value: object) -> str | None:
    """Return a text of somebody's configuration in one short line."""
    return shortened(value) if isinstance(value, str) else None


def hub_parts(name: str) -> tuple[str, str]:
    """Return repository and revision of `timm/hf_hub:ORG/NAME[@REVISION]`.

    Raises:
        CallerError: another form.
    """
    found = _HUB_NAME.fullmatch(name.removeprefix(HUB))
    if found is None or ".." in name:
        raise CallerError(f"backbone '{name}' is not timm/hf_hub:ORG/NAME[@REVISION], such as "
                          "timm/hf_hub:timm/resnet18.a1_in1k")
    return found["repository"], found["revision"] or ""


def hub_file(name: str, file: str) -> str:
    """Return a file of a model of the hub, as `backbone.pretrained.file` names it."""
    repository, revision = hub_parts(name)
    return f"hf:{repository}{f'@{revision}' if revision else ''}:{file}"
