"""Weights files, which include their model's preprocessing, and loading with a report.

Checkpoints of a running training are in `fer.train`; foreign files are parsed in
`fer.models.checkpoint_import`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fer.atomic_io import replacing
from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import find_foreign, refuse_long_header
from fer.models.classifier import Classifier
from fer.models.fit_tensors import (
    fitted,
    is_position,
    shape_text,
    with_head_names,
    with_mapped_head,
)
from fer.models.load_report import LoadReport
from fer.models.state_dicts import Found, Translate
from fer.models.timm_networks import translated
from fer.untrusted_io import parse_json

FORMAT_VERSION = 1
METADATA_KEY = "fer"  # a single key, because safetensors writes several in no fixed order
# Minimum shares of matching tensors; with fewer it is another architecture. All tensors of a
# ResNet-34 match a third of ResMasking's, which is a good initialisation.
LEAST_OF_FILE = 0.5
LEAST_OF_MODEL = 0.25
LEAST_SHARE = 0.9  # of the weights before the head, counted as numbers
PARTIAL = ("resmasking", "resmasking_dropout1", "resmasking_dropout2", "resmasking50_dropout1")
"""Architectures that start from a ResNet, as upstream: most of their weights are new."""


@dataclass(frozen=True)
class Description:
    """The description in a weights file: `backbone` with its preprocessing, `classes`.

    `tensors` is the digest of its tensors; empty in files of early versions.
    """

    backbone: Backbone
    classes: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)
    tensors: str = ""


def save_weights(
    model: Classifier,
    path: Path,
    extra_metadata: Mapping[str, Any] | None = None,
    durable: bool = True,
) -> None:
    """Write the model to `path` as safetensors with a description of the model.

    Args:
        model: on any device; equal weights and metadata give equal bytes.
        path: the file; its folder is created if missing.
        extra_metadata: additional JSON values, such as a run id.
        durable: fsync the file; False if the caller syncs the whole folder.
    """
    state = {key: tensor.detach().cpu().contiguous()
             for key, tensor in model.net.state_dict().items()}
    content = {"version": FORMAT_VERSION, **identity_of(model), "extra": dict(extra_metadata or {}),
               "tensors": digest_of(state)}
    with replacing(Path(path), durable) as temporary:
        save_file(state, temporary, {METADATA_KEY: json.dumps(content, allow_nan=False)})


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return the XXH3-128 of tensors on the CPU, in the order of their names."""
    found = xxhash.xxh3_128()
    for key in sorted(state):
        found.update(key.encode())
        found.update(state[key].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _read_whole(path: Path, wanted: Mapping[str, Sequence[int]] | None = None,
                translate: Translate | None = None) -> Found:
    """Return the tensors of our own or a foreign file; verify the digest of our own."""
    try:
        expected = describe_weights(path).tensors
    except CallerError:  # a foreign file has no digest
        return find_foreign(path, wanted, translate)
    found = find_foreign(path)
    if expected and digest_of(found.tensors) != expected:
        raise CallerError(f"{path}: its tensors have changed since it was written")
    return found


def identity_of(model: Classifier) -> dict[str, Any]:
    """Return the model's identity as JSON values: `backbone` with its preprocessing, `classes`."""
    return {"backbone": model.backbone.model_dump(mode="json", exclude={"pretrained"}),
            "classes": list(model.classes)}


def load_model(path: Path) -> Classifier:
    """Return the model that `save_weights` wrote to `path`, in eval mode, on the CPU.

    Raises:
        CallerError: missing, truncated, changed, not written by `save_weights`, or tensors that
            do not fit the architecture.
    """
    description, state = describe_weights(path), _read_whole(path).tensors
    with torch.device("meta"):  # skips the random initialisation
        model = registry.build(description.backbone, description.classes)
    expected = model.net.state_dict()
    wrong = [key for key in expected.keys() | state.keys()
             if key not in expected or key not in state or expected[key].shape != state[key].shape]
    if wrong:
        raise CallerError(f"{path}: {len(wrong)} tensors do not fit architecture "
                          f"'{description.backbone.arch}', such as '{min(wrong)}'")
    model.net.load_state_dict(state, assign=True)
    if any(buffer.is_meta for buffer in model.net.buffers()):  # tables that are in no file
        with torch.random.fork_rng(devices=()):
            model = registry.build(description.backbone, description.classes)
        model.net.load_state_dict(state)
    return model.eval()


def describe_weights(path: Path) -> Description:
    """Return the description in a file of `save_weights`; reads only its header."""
    refuse_long_header(path)
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CallerError(f"{path}: cannot be read as safetensors: {error}") from error
    if METADATA_KEY not in metadata:
        raise CallerError(f"{path}: has no description of its model; it was not written by this "
                          "project")
    try:
        content = parse_json(metadata[METADATA_KEY])
        version = content["version"]
        backbone = Backbone.model_validate(content["backbone"])
        description = Description(backbone, tuple(content["classes"]), content["extra"],
                                  str(content.get("tensors", "")))
    except (ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise CallerError(f"{path}: bad description of the model: {reason}") from error
    if version != FORMAT_VERSION:
        raise CallerError(f"{path}: format version {version}; this code reads {FORMAT_VERSION}")
    return description


def load_state(model: Classifier, state: Mapping[str, Tensor], keep_head: bool,
               min_matched: float = 0.0) -> LoadReport:
    """Copy the matching tensors into the model and report all others.

    Tensors are made to fit another input size or other colours. Nothing is copied if an error is
    raised.

    Args:
        model: on any device; values are cast to its dtypes.
        state: with the keys of the bare network.
        keep_head: copy the head too; otherwise the model's head keeps its values.
        min_matched: least share of the model's weights before the head that must be loaded.

    Raises:
        CallerError: too few of the tensors outside the head fit, or `keep_head` is set and the
            file's head does not fit.
    """
    own: dict[str, Tensor] = model.net.state_dict()
    head = model.head_keys
    state, adapted = fitted(state, own)
    taken = [key for key in own if key in state and own[key].shape == state[key].shape
             and (keep_head or key not in head)]
    body = own.keys() - head
    fitting = body.intersection(taken)
    offered = len(state.keys() - head)
    if len(fitting) < max(LEAST_OF_FILE * min(offered, len(body)), LEAST_OF_MODEL * len(body)):
        raise CallerError(f"weights of another architecture: {len(fitting)} of its {offered} "
                          f"tensors fit '{model.backbone.arch}', which has {len(body)}")
    share = sum(own[key].numel() for key in fitting) / sum(own[key].numel() for key in body)
    if share < min_matched:
        left = sorted(body - fitting)
        raise CallerError(
            f"only {int(100 * share)} % of the weights of '{model.backbone.arch}' before the head "
            f"are in the file, less than {100 * min_matched:g} %: {len(left)} tensors are not, "
            f"such as '{left[0]}'; if that is meant, set backbone.pretrained.min_matched to "
            f"{int(100 * share) / 100:g}")
    if min_matched and (moved := [key for key in own if key in state and key in body - fitting
                                  and is_position(key)]):
        raise CallerError(
            f"'{moved[0]}' is {shape_text(state[moved[0]])} in the file and "
            f"{shape_text(own[moved[0]])} in '{model.backbone.arch}', and cannot be made to fit: "
            "is it a network with another number of class tokens? If random positions are meant, "
            "set backbone.pretrained.min_matched to 0")
    if keep_head and (lost := sorted(head.difference(taken))):
        raise CallerError(
            f"the head cannot be kept: '{lost[0]}' is {shape_text(state.get(lost[0]))} in the file "
            f"and {shape_text(own[lost[0]])} in '{model.backbone.arch}'; other classes are mapped "
            "with recipe.init.labels")
    broken = next((key for key in taken if not state[key].is_meta and state[key].isnan().any()),
                  None)
    if broken is not None:
        raise CallerError(f"'{broken}' has values that are no numbers (NaN): a training that "
                          "diverged?")
    with torch.no_grad():
        for key in taken:
            own[key].copy_(state[key])
    passed_over = frozenset() if keep_head else head
    return LoadReport(
        missing=tuple(sorted(own.keys() - state.keys() - passed_over)),
        unexpected=tuple(sorted(state.keys() - own.keys())),
        reshaped=tuple(key for key in own if key in state and key not in passed_over
                       and own[key].shape != state[key].shape),
        head_lost=not keep_head,
        adapted=tuple(f"{key} {how}" for key, how in adapted.items() if key in taken),
        matched=len(fitting), tensors=len(body), share=share,
    )


def load_pretrained(model: Classifier, path: Path, keep_head: bool = False,
                    labels: Mapping[str, str] | None = None) -> LoadReport:
    """Initialise `model` from our own or a foreign file; see `load_state` and `read_foreign`.

    Args:
        labels: label of the file's head, or its number -> class or `drop`; see `with_mapped_head`.

    Raises:
        CallerError: also if `keep_head` is set and the file has other classes, or the same classes
            in another order, and no `labels` map them.
    """
    try:
        classes = _classes(path) if keep_head else ()
        if classes and not labels and classes != model.classes:
            raise CallerError(
                f"the head cannot be kept: the file's classes are {', '.join(classes)}, the "
                f"model's {', '.join(model.classes)}; map them with recipe.init.labels")
        own: dict[str, Tensor] = model.net.state_dict()
        shapes = {key: tensor.shape for key, tensor in own.items()}
        found = _read_whole(path, shapes, partial(translated, model.net))
        state = found.tensors
        mapped: tuple[str, ...] = ()
        if keep_head:
            state = with_head_names(state, own, model.head_keys, model.head_path)
        if keep_head and labels:
            state, how = with_mapped_head(state, own, model.head_keys, model.classes, labels,
                                          classes)
            mapped = (how,)
        report = load_state(model, state, keep_head, _least_share(model.backbone))
        return replace(report, source=str(found),
                       adapted=(*mapped, *found.resized, *report.adapted))
    except CallerError as error:
        raise error if str(path) in str(error) else CallerError(f"{path}: {error}") from error


def _least_share(backbone: Backbone) -> float:
    """Return the least share of a backbone's weights before the head that a file must have."""
    given = backbone.pretrained.min_matched if backbone.pretrained else None
    if given is not None:
        return given
    return 0.0 if backbone.arch in PARTIAL else LEAST_SHARE


def _classes(path: Path) -> tuple[str, ...]:
    """Return the classes of a file's head; none if it does not name them."""
    try:
        return describe_weights(path).classes
    except CallerError:  # a foreign file
        return ()
