"""Export of a model: safetensors, `torch.export`, ONNX, or the original's checkpoint format.

Exported models take uint8 images or describe their preprocessing. Each file is read back and
compared with the model before it is published. TorchScript is not used.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fer.atomic_io import replacing
from fer.errors import CallerError, choices
from fer.models.checkpoint_import import STATE_KEY, read_foreign, to_original
from fer.models.classifier import Classifier
from fer.models.registry import build
from fer.models.weights import identity_of, load_model, load_state, save_weights

TOLERANCE = 1e-4  # relative to the largest logit: other kernels sum in another order
BATCH = torch.export.Dim("batch", min=1, max=4096)
NAME = "fer.json"  # of the description inside a file of torch.export
Run = Callable[[Tensor], Tensor]


def export(model: Classifier, path: Path) -> float:
    """Write a model; return the maximum deviation of its outputs, relative to the largest logit.

    Args:
        model: on the CPU, in eval mode.
        path: the suffix selects the format: `.safetensors` (with preprocessing and classes),
            `.pt2` (torch.export) and `.onnx` (both map uint8 N x 3 x S x S to logits, N free),
            `.pth` (a state dict under `net` with the original implementation's names).

    Raises:
        CallerError: an unknown suffix, a missing library, or outputs that differ.
    """
    if path.suffix not in FORMATS:
        raise CallerError(f"{path}: no format '{path.suffix}'; there are: {choices(FORMATS)}")
    size = model.backbone.input_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=generator)
    with replacing(path) as temporary, torch.no_grad():
        run = FORMATS[path.suffix](model, temporary)
        expected, found = model(images), run(images)
        apart = float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not apart <= TOLERANCE:  # also true for NaN
            raise CallerError(f"{path}: its outputs would differ from the model's by {apart:.1e} "
                              "of the largest logit; nothing was written")
    return apart


def describe(model: Classifier) -> str:
    """Return a JSON description of a model: backbone with preprocessing, classes."""
    return json.dumps({**identity_of(model), "input": "uint8 N x 3 x size x size, RGB, 0…255",
                       "output": "logits"})


def _safetensors(model: Classifier, path: Path) -> Run:
    save_weights(model, path)
    return load_model(path)


def _original(model: Classifier, path: Path) -> Run:
    torch.save({STATE_KEY: to_original(model)}, path)
    again = build(model.backbone, model.classes).eval()
    load_state(again, read_foreign(path), keep_head=True)
    return again


def _program(model: Classifier) -> torch.export.ExportedProgram:
    size = model.backbone.input_size
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    return torch.export.export(model, (images,), dynamic_shapes=({0: BATCH},))


def _exported(model: Classifier, path: Path) -> Run:
    with open(path, "wb") as handle:
        torch.export.save(_program(model), handle, extra_files={NAME: describe(model)})
    with open(path, "rb") as handle:
        again: Run = torch.export.load(handle).module()
    return again


def _onnx(model: Classifier, path: Path) -> Run:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch.onnx needs it
    except ImportError as error:
        raise CallerError(f"{error.name} is missing: pip install '.[onnx]'") from None
    program = torch.onnx.export(_program(model), dynamo=True, input_names=["images"],
                                output_names=["logits"], verbose=False)
    assert program is not None
    program.model.metadata_props["fer"] = describe(model)
    program.save(path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


FORMATS: dict[str, Callable[[Classifier, Path], Run]] = {
    ".safetensors": _safetensors, ".pt2": _exported, ".onnx": _onnx, ".pth": _original}
