"""Weights in and out: our files, which carry their preprocessing, and what loading left out.

Not for checkpoints of a run in progress (`fer.train`), and not for parsing what others wrote
(`fer.models.checkpoint_import`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fer.atomic_io import replacing
from fer.config.run import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import read_foreign
from fer.models.classifier import Classifier

FORMAT_VERSION = 1
METADATA_KEY = "fer"  # one key only: safetensors writes several in no fixed order
# Below these shares of tensors that fit, it is another architecture. A ResNet-34 fits all of its
# own tensors and a third of ResMasking's, and is a good start for one.
LEAST_OF_FILE = 0.5
LEAST_OF_MODEL = 0.25


@dataclass(frozen=True)
class Description:
    """What a weights file says about its model: `backbone` with its preprocessing, `classes`.

    `tensors` is the digest of its tensors; files of early versions have none.
    """

    backbone: Backbone
    classes: tuple[str, ...]
    extra: dict[str, Any] = field(default_factory=dict)
    tensors: str = ""


@dataclass(frozen=True)
class LoadReport:
    """What loading a state dict left out.

    Attributes:
        missing: tensors of the model that kept their values because the file has none.
        unexpected: tensors of the file with no place in the model.
        reshaped: tensors in both, of different shapes; the model's kept their values.
        head_lost: whether the head kept its values; its keys are then in none of the lists.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    head_lost: bool = False

    def __str__(self) -> str:
        return self._said(most=3)

    def whole(self) -> str:
        """Return the same with every key."""
        return self._said(most=None)

    def _said(self, most: int | None) -> str:
        parts = ["the head was dropped and starts anew"] if self.head_lost else []
        for name in ("missing", "unexpected", "reshaped"):
            if keys := getattr(self, name):
                shown = keys[:most]
                more = f" and {len(keys) - len(shown)} more" if len(keys) > len(shown) else ""
                parts.append(f"{len(keys)} {name}: {', '.join(shown)}{more}")
        return "; ".join(parts) or "every tensor loaded"


def save_weights(
    model: Classifier,
    path: Path,
    extra_metadata: Mapping[str, Any] | None = None,
    durable: bool = True,
) -> None:
    """Publish the model at `path` as safetensors with everything its use needs.

    Args:
        model: on any device; equal weights and metadata give equal bytes.
        path: the file; its folder is made when missing.
        extra_metadata: JSON values that travel along, such as a run id.
        durable: fsync it; a caller that syncs a whole folder itself says False.
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


def _read_whole(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of ours or of others; of ours they are compared with its digest.
    """
    state = read_foreign(path)
    try:
        expected = describe_weights(path).tensors
    except CallerError:  # not ours: it does not say
        return state
    if expected and digest_of(state) != expected:
        raise CallerError(f"{path}: its tensors have changed since it was written")
    return state


def identity_of(model: Classifier) -> dict[str, Any]:
    """Return which model it is, as JSON values: `backbone` with its preprocessing, `classes`."""
    return {"backbone": model.backbone.model_dump(mode="json", exclude={"pretrained"}),
            "classes": list(model.classes)}


def load_model(path: Path) -> Classifier:
    """Return the model that `save_weights` put at `path`, in eval mode, on the CPU.

    Raises:
        CallerError: missing, truncated, changed, not written by `save_weights`, or tensors that
            do not fit the architecture.
    """
    description, state = describe_weights(path), _read_whole(path)
    with torch.device("meta"):  # no random weights drawn, only to be overwritten
        model = registry.build(description.backbone, description.classes)
    expected = model.net.state_dict()
    wrong = [key for key in expected.keys() | state.keys()
             if key not in expected or key not in state or expected[key].shape != state[key].shape]
    if wrong:
        raise CallerError(f"{path}: {len(wrong)} tensors do not fit architecture "
                          f"'{description.backbone.arch}', such as '{min(wrong)}'")
    model.net.load_state_dict(state, assign=True)
    return model.eval()


def describe_weights(path: Path) -> Description:
    """Return what a file of `save_weights` says about its model, reading only its header."""
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CallerError(f"{path}: cannot be read as safetensors: {error}") from error
    if METADATA_KEY not in metadata:
        raise CallerError(f"{path}: does not say which model it is; it was not written here")
    try:
        content = json.loads(metadata[METADATA_KEY])
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


def load_state(model: Classifier, state: Mapping[str, Tensor], keep_head: bool) -> LoadReport:
    """Copy the tensors that fit into the model and report every one that does not.

    Nothing is copied when an error is raised.

    Args:
        model: on any device; values are cast to its dtypes.
        state: keys of the bare network.
        keep_head: copy the head too; otherwise it keeps its values, whatever the file has.

    Raises:
        CallerError: too few of the tensors outside the head fit, or the head is to be kept and
            the file's does not fit.
    """
    own: dict[str, Tensor] = model.net.state_dict()
    head = model.head_keys
    taken = [key for key in own if key in state and own[key].shape == state[key].shape
             and (keep_head or key not in head)]
    body = own.keys() - head
    fitting = len(body.intersection(taken))
    offered = len(state.keys() - head)
    if fitting < max(LEAST_OF_FILE * min(offered, len(body)), LEAST_OF_MODEL * len(body)):
        raise CallerError(f"weights of another architecture: {fitting} of its {offered} tensors "
                          f"fit '{model.backbone.arch}', which has {len(body)}")
    if keep_head and (lost := sorted(head.difference(taken))):
        raise CallerError(f"the head cannot be kept: '{lost[0]}' is {_shape(state, lost[0])} in "
                          f"the file and {_shape(own, lost[0])} in '{model.backbone.arch}'")
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
    )


def load_pretrained(model: Classifier, path: Path, keep_head: bool = False) -> LoadReport:
    """Start `model` from a file of ours or of others; see `load_state` and `read_foreign`.

    Raises:
        CallerError: also when the head is to be kept and the file has other classes, or the same
            in another order.
    """
    try:
        if keep_head:
            _check_classes(model, path)
        return load_state(model, _read_whole(path), keep_head)
    except CallerError as error:
        raise error if str(path) in str(error) else CallerError(f"{path}: {error}") from error


def _check_classes(model: Classifier, path: Path) -> None:
    try:
        classes = describe_weights(path).classes
    except CallerError:  # not ours: it does not say
        return
    if classes != model.classes:
        raise CallerError(f"the head cannot be kept: the file's classes are {', '.join(classes)}, "
                          f"the model's {', '.join(model.classes)}")


def _shape(state: Mapping[str, Tensor], key: str) -> str:
    return "x".join(map(str, state[key].shape)) if key in state else "missing"
