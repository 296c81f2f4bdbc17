"""What a launcher has to know of backbones: a process of its own answers, as this needs torch.

    python -m fer.models.inspect < asked.json     [{"backbone": {...}, "classes": [...], ...}, ...]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch

from fer.config.run import Backbone
from fer.errors import CallerError
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.models.weights import load_pretrained


class Anatomy(TypedDict):
    """What was found, as JSON values.

    `problem` is the line of an error, and then nothing else holds: there is no such architecture,
    it does not take pictures of that size, or the weights file does not fit it.
    """

    bytes: int  # of all weights and buffers
    trained: int  # of what has optimiser state when nothing is frozen
    stages: list[str]  # input to output
    problem: str


def anatomy(backbone: Backbone, classes: Sequence[str], weights: Path | None = None,
            keep_head: bool = False) -> Anatomy:
    """Return what is to be known of a backbone, with no memory taken for its weights.

    Args:
        weights: the file that a run starts from, which is read whole.
        keep_head: whether the file's head is to fit as well.
    """
    try:
        with torch.device("meta"):
            model = build(backbone, classes)
            _pass_through(model, backbone)
        if weights is not None:
            load_pretrained(model, weights, keep_head)  # into nothing: only whether it fits
    except CallerError as error:
        return Anatomy(bytes=0, trained=0, stages=[], problem=str(error))
    trained = sum(p.numel() * p.element_size() for p in model.parameters())
    others = sum(b.numel() * b.element_size() for b in model.buffers())
    return Anatomy(bytes=trained + others, trained=trained, stages=list(model.stages), problem="")


def _pass_through(model: Classifier, backbone: Backbone) -> None:
    """Send pictures of no content through the network; some take certain sizes only."""
    size = backbone.input_size
    try:
        with torch.no_grad():
            model.net.eval()(torch.empty(2, 3, size, size))
    except NotImplementedError:  # an operator that knows no pictures without content: who knows
        return
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CallerError(f"backbone '{backbone.name}': '{backbone.arch}' cannot take pictures of "
                          f"{size} px (backbone.input_size): {reason}") from error


def answer(asked: Sequence[dict[str, Any]]) -> list[Anatomy]:
    """Return the anatomy of each backbone that was asked for."""
    return [anatomy(Backbone.model_validate(one["backbone"]), one["classes"],
                    Path(one["weights"]) if one["weights"] else None, one["keep_head"])
            for one in asked]


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
