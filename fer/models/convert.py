"""Conversion of foreign checkpoints to the project's weights files, which describe their model.

Foreign files are read in `fer.models.checkpoint_import`; `fer.models.weights` initialises a run
from a file of either kind.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fer.checksums import sha_of
from fer.config.backbone import Backbone
from fer.errors import CallerError
from fer.models import registry
from fer.models.checkpoint_import import find_foreign
from fer.models.classifier import Classifier
from fer.models.fit_tensors import with_head_names
from fer.models.load_report import LoadReport
from fer.models.timm_networks import translated
from fer.models.weights import load_state, save_weights

KNOWN_CLASSES = {
    3: ("negative", "neutral", "positive"),  # LFW-FER, in the order of its folders
    7: ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),  # FER2013's numbers
}
"""Default class names by number of classes, for files without class names."""


def convert(source: Path, backbone: Backbone, classes: tuple[str, ...], target: Path
            ) -> tuple[Classifier, LoadReport]:
    """Convert `source` to a weights file at `target`; return the model and the load report.

    Args:
        source: a torch checkpoint or safetensors.
        backbone: its architecture and preprocessing.
        classes: in the order of its logits; empty for the defaults.

    Raises:
        CallerError: not weights, another architecture, or another number of classes.
    """
    with torch.device("meta"):
        shape_of = registry.build(backbone, ("a", "b"))
    own = shape_of.net.state_dict()
    found = find_foreign(source, {key: tensor.shape for key, tensor in own.items()},
                         partial(translated, shape_of.net))
    state = with_head_names(found.tensors, own, shape_of.head_keys, shape_of.head_path)
    count = _class_count(state, shape_of, source)
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
        raise CallerError(f"{source}: does not match '{backbone.arch}': {report}")
    save_weights(model, target, {"source": source.name, "sha256": sha_of(source)})
    return model, replace(report, source=str(found), adapted=(*found.resized, *report.adapted))


def _class_count(state: Mapping[str, Tensor], model: Classifier, source: Path) -> int:
    """Return the number of classes of a state dict's class layer."""
    heads = model.head_keys
    biases = [state[key].shape[0] for key in sorted(heads) if key in state and state[key].dim()]
    if not biases:
        raise CallerError(f"{source}: has no class layer of '{model.backbone.arch}' "
                          f"({', '.join(sorted(heads))}), so it is no classifier; a run starts "
                          "from it as it is: backbone.pretrained='{source: file, file: …}'")
    return biases[-1]
