"""Checkpoints of others to weights files of ours, which say which model they are.

Reading a stranger's file is `fer.models.checkpoint_import`; starting a run from a file of either
kind is `fer.models.weights`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fer.checksums import sha_of
from fer.config.run import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import read_foreign
from fer.models.classifier import Classifier
from fer.models.weights import LoadReport, load_state, save_weights

KNOWN_CLASSES = {
    3: ("negative", "neutral", "positive"),  # LFW-FER, in the order of its folders
    7: ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),  # FER2013's numbers
}
"""Class names by their number, where a file does not say them."""


def convert(source: Path, backbone: Backbone, classes: tuple[str, ...], target: Path
            ) -> tuple[Classifier, LoadReport]:
    """Write `source` as weights of ours at `target`; returns the model and what did not fit.

    Args:
        source: a torch checkpoint or safetensors.
        backbone: its architecture and preprocessing.
        classes: in the order of its logits; empty takes the usual ones of that number.

    Raises:
        CallerError: no weights, of another architecture, or another number of classes.
    """
    state = read_foreign(source)
    count = _class_count(state, backbone, source)
    classes = classes or KNOWN_CLASSES.get(count, ())
    if len(classes) != count:
        raise CallerError(f"{source}: has {count} classes; name them in the order of its logits: "
                          f"--classes a,b,… ({len(classes) or 'none'} named)")
    model = registry.build(backbone, classes)
    try:
        report = load_state(model, state, keep_head=True)
    except CallerError as error:
        raise CallerError(f"{source}: {error}") from error
    if report.missing or report.reshaped:
        raise CallerError(f"{source}: not all of '{backbone.arch}': {report}")
    save_weights(model, target, {"source": source.name, "sha256": sha_of(source)})
    return model, report


def _class_count(state: Mapping[str, Tensor], backbone: Backbone, source: Path) -> int:
    """Return how many classes a state dict's class layer has."""
    with torch.device("meta"):
        heads = registry.build(backbone, ("a", "b")).head_keys
    biases = [state[key].shape[0] for key in sorted(heads) if key in state]
    if not biases:
        raise CallerError(f"{source}: has no class layer of '{backbone.arch}' "
                          f"({', '.join(sorted(heads))})")
    return biases[-1]
