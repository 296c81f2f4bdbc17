"""Inspection of backbones for launchers, in a separate process because it imports torch.

    python -m fer.models.inspect < request.json     [{"backbone": {...}, "classes": [...], ...}, …]
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.models.weights import load_pretrained


class Anatomy(TypedDict):
    """The result as JSON values.

    `problem` is an error message; the other values are then invalid. Possible errors: an unknown
    architecture, an unsupported input size, or a weights file that does not fit.
    """

    bytes: int  # of all weights and buffers
    trained: int  # of all parameters, which have optimiser state if nothing is frozen
    stages: list[str]  # input to output
    parameters: int  # their number
    batch_norms: list[int]  # of each stage
    layers: int  # for learning rates per block; 0 if the network has no blocks
    problem: str


def anatomy(backbone: Backbone, classes: Sequence[str], weights: Path | None = None,
            keep_head: bool = False, labels: Mapping[str, str] | None = None) -> Anatomy:
    """Return the anatomy of a backbone without allocating its weights.

    Args:
        weights: file with the initial weights, which is read completely.
        keep_head: whether the file's head must fit too.
        labels: how it is mapped to the classes, as in `recipe.init.labels`.
    """
    try:
        with torch.device("meta"):
            model = build(backbone, classes)
            _pass_through(model, backbone)
        if weights is not None:
            load_pretrained(model, weights, keep_head, labels)  # on `meta`: only a check
    except CallerError as error:
        return Anatomy(bytes=0, trained=0, stages=[], parameters=0, batch_norms=[], layers=0,
                       problem=str(error))
    trained = sum(p.numel() * p.element_size() for p in model.parameters())
    others = sum(b.numel() * b.element_size() for b in model.buffers())
    return Anatomy(bytes=trained + others, trained=trained, stages=list(model.stages),
                   parameters=sum(p.numel() for p in model.parameters()),
                   batch_norms=[len(model.batch_norms(stage)) for stage in model.stages],
                   layers=model.layer_count, problem="")


def _pass_through(model: Classifier, backbone: Backbone) -> None:
    """Run the network on `meta` tensors, because some networks support only certain sizes."""
    size = backbone.input_size
    try:
        with torch.no_grad():
            model.net.eval()(torch.empty(2, 3, size, size))
    except NotImplementedError:  # an operator without `meta` support: cannot be checked
        return
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CallerError(f"backbone '{backbone.name}': '{backbone.arch}' does not support "
                          f"images of {size} px (backbone.input_size): {reason}") from error


def answer(requests: Sequence[dict[str, Any]]) -> list[Anatomy]:
    """Return the anatomy of each requested backbone."""
    return [anatomy(Backbone.model_validate(one["backbone"]), one["classes"],
                    Path(one["weights"]) if one["weights"] else None, one["keep_head"],
                    one["labels"])
            for one in requests]


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
