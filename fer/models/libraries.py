"""Any classifier of pytorchcv or torchvision by name: `pytorchcv/resnet34`, `torchvision/resnet34`.

Random weights only; nothing is downloaded. Stages are read off the structure: pytorchcv's are named
in its modules, torchvision's are what works at one resolution.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fer.errors import CallerError, choices
from fer.models.architectures.zoo import NATIVE_SIZE, at_size
from fer.models.architectures.zoo import stages as stages_of_pytorchcv
from fer.models.classifier import StageMap

LIBRARIES = ("pytorchcv", "torchvision")
PARTS = 4  # of a network that works at one resolution throughout

Maker = Callable[..., nn.Module]


def named(name: str) -> tuple[Maker, Callable[[nn.Module], StageMap]]:
    """Return what makes the network `LIBRARY/MODEL`, and what names its stages.

    Raises:
        CallerError: no such library or model.
    """
    library, _, model = name.partition("/")
    if library == "pytorchcv":
        return _pytorchcv(model), stages_of_pytorchcv
    if library == "torchvision":
        return _torchvision(model), stages_by_resolution
    raise CallerError(f"no library '{library}' for architecture '{name}'; there are: "
                      f"{choices(LIBRARIES)}")


def _pytorchcv(model: str) -> Maker:
    from pytorchcv.model_provider import get_model

    def make(num_classes: int, input_size: int) -> nn.Module:
        try:
            net = get_model(model, num_classes=num_classes, pretrained=False)
        except ValueError:
            raise CallerError(f"pytorchcv has no model '{model}'") from None
        if not hasattr(net, "features") or not hasattr(net, "output"):
            raise CallerError(f"pytorchcv's '{model}' is no classifier of whole pictures")
        return at_size(net, input_size)

    return make


def _torchvision(model: str) -> Maker:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        near = get_close_matches(model, known, 5, 0.4) or known
        raise CallerError(f"torchvision has no classifier '{model}'; near it are: {choices(near)}")

    def make(num_classes: int, input_size: int) -> nn.Module:
        takes = inspect.signature(models.get_model_builder(model)).parameters
        more = {"aux_logits": False} if "aux_logits" in takes or model == "googlenet" else {}
        try:
            return models.get_model(model, weights=None, num_classes=num_classes, **more)
        except NotImplementedError:  # its stages are asked for without memory for its weights
            raise CallerError(f"torchvision's '{model}' cannot be made on the meta device, by "
                              "which stages are found; pytorchcv may have the same") from None

    return make


def stages_by_resolution(net: nn.Module) -> StageMap:
    """Name the stages `stem`, `stage1` …, perhaps `neck`, and `head` by what layers give.

    A picture goes through the network on torch's `meta` device; layers that give maps of one size
    make one stage. Where the size never changes, the layers after the first make four equal ones.
    Layers after the last map are the neck; the class layer is the head.

    Raises:
        CallerError: parameters that lie in no layer, or no map.
    """
    head = [path for path, module in net.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    units = _units(net, head)
    sides = _sides(net, [path for path, _ in units])
    stages: list[list[str]] = []
    neck: list[str] = []
    before = None
    for path, _ in units:
        side = sides.get(path)
        if path == head:
            continue
        if side is None:
            neck.append(path)
        elif side == before:
            stages[-1].append(path)
        else:
            stages.append([path])
            before = side
    if not stages:
        raise CallerError(f"{type(net).__name__} has no maps that could be called stages")
    if len(stages) == 1:
        first, *rest = stages[0]
        stages = [[first], *(rest[len(rest) * part // PARTS : len(rest) * (part + 1) // PARTS]
                             for part in range(PARTS))]
    names = ["stem", *(f"stage{number}" for number in range(1, len(stages)))]
    found = dict(zip(names, stages, strict=True))
    return {**found, **({"neck": neck} if neck else {}), "head": [head]}


def _units(net: nn.Module, head: str) -> list[tuple[str, nn.Module]]:
    """Return the layers that stages are made of, in order: (path, module) with tensors in them.

    A module that holds the class layer beside others, or most of the network, or most of it but
    fully connected layers (which are nearly all of VGG), is opened.
    """
    whole, maps = _size(net), _size_but_linear(net)
    units: list[tuple[str, nn.Module]] = []

    def look(path: str, module: nn.Module) -> None:
        if not _size(module):
            return
        children = list(module.named_children())
        above_head = head.startswith(f"{path}.") or not path
        large = 2 * _size(module) > whole or 2 * _size_but_linear(module) > maps
        if path != head and children and (above_head or large):
            if any(True for _ in (*module.parameters(recurse=False),
                                  *module.buffers(recurse=False))):
                raise CallerError(f"{type(net).__name__} has parameters beside its layers "
                                  f"({path or 'at the top'}): its stages cannot be told apart")
            for name, child in children:
                look(f"{path}.{name}" if path else name, child)
        else:
            units.append((path, module))

    look("", net)
    return units


def _size(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))


def _size_but_linear(module: nn.Module) -> int:
    return _size(module) - sum(_size(part) for part in module.modules()
                               if isinstance(part, nn.Linear))


def _sides(net: nn.Module, paths: list[str]) -> dict[str, int]:
    """Return the side of the map that each unit gives; units that give none are left out."""
    sides: dict[str, int] = {}
    hooks = []
    for path in paths:
        def note(module: nn.Module, inputs: object, out: object, path: str = path) -> None:
            side = _side(out)
            if side is not None:
                sides[path] = side

        hooks.append(net.get_submodule(path).register_forward_hook(note))
    shapes = {name: tensor.to("meta") for name, tensor in
              (*net.named_parameters(), *net.named_buffers())}
    training = net.training
    try:
        with torch.no_grad():
            images = torch.empty(1, 3, NATIVE_SIZE, NATIVE_SIZE, device="meta")
            functional_call(net.eval(), shapes, (images,))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return sides


def _side(out: object) -> int | None:
    if not isinstance(out, Tensor) or out.ndim != 4:
        return None
    _, a, b, c = out.shape  # channels first, or last as in Swin
    side = b if b == c else a if a == b else None
    return side if side and side > 1 else None
