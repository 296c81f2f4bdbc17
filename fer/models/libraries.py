"""Any classifier of pytorchcv or torchvision by name: `pytorchcv/resnet34`, `torchvision/resnet34`.

Randomly initialised; nothing is downloaded. Stages are derived from the structure: pytorchcv names
them in its modules, for torchvision they are the layers at one resolution.
"""

import inspect
import itertools
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
PARTS = 4  # stages of a network with constant resolution

Maker = Callable[..., nn.Module]


def named(name: str) -> tuple[Maker, Callable[[nn.Module], StageMap]]:
    """Return a function that builds the network `LIBRARY/MODEL`, and one that returns its stages.

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
        except AssertionError:  # such as networks for CIFAR with 10 or 100 classes
            raise CallerError(f"pytorchcv's '{model}' cannot have {num_classes} classes") from None
        if not hasattr(net, "features") or not hasattr(net, "output"):
            raise CallerError(f"pytorchcv's '{model}' is not an image classifier")
        return at_size(net, input_size)

    return make


def _torchvision(model: str) -> Maker:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        near = get_close_matches(model, known, 5, 0.4) or known
        raise CallerError(f"torchvision has no classifier '{model}'; similar: {choices(near)}")

    def make(num_classes: int, input_size: int) -> nn.Module:
        takes = inspect.signature(models.get_model_builder(model)).parameters
        more: dict[str, object] = {"num_classes": num_classes, "weights": None}
        if "aux_logits" in takes or model == "googlenet":
            more["aux_logits"] = False
        if model.startswith("vit_"):  # all but these two take images of any size
            more["image_size"] = input_size
        elif model.startswith("maxvit_"):
            more["input_size"] = (input_size, input_size)
        try:
            net = models.get_model(model, **more)
        except NotImplementedError:  # computes its widths with tensors, which fails on `meta`
            with torch.device("cpu"):
                net = models.get_model(model, **more).to("meta")
        except (AssertionError, ValueError) as error:
            raise CallerError(f"torchvision's '{model}' does not support images of "
                              f"{input_size} px: {error}") from None
        if "input_size" in more:
            net.image_size = input_size  # the attribute name of a ViT
        return net

    return make


def stages_by_resolution(net: nn.Module) -> StageMap:
    """Return the stages `stem`, `stage1` …, optional `neck`, and `head` by output resolution.

    The network is run on torch's `meta` device. Consecutive layers with feature maps of one size,
    or with the same number of tokens, form a stage. If the size never changes after the first
    layer, the others form four equal stages. Layers after the last map are the neck; the class
    layer is the head. Parameters outside layers (class token, position embedding) belong to the
    stem.

    Raises:
        CallerError: buffers outside layers, or no feature maps.
    """
    head = [path for path, module in net.named_modules()
            if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    units, loose = _units(net, head)
    sides = _sides(net, units)
    stages: list[list[str]] = []
    neck: list[str] = []
    before = None
    for path in units:
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
        raise CallerError(f"{type(net).__name__} has no feature maps to define stages")
    if len(stages) == 1 or (len(stages) == 2 and len(stages[0]) == 1):
        first, *rest = itertools.chain(*stages)
        stages = [[first], *(rest[len(rest) * part // PARTS : len(rest) * (part + 1) // PARTS]
                             for part in range(PARTS))]
    stages[0] += loose
    names = ["stem", *(f"stage{number}" for number in range(1, len(stages)))]
    found = dict(zip(names, stages, strict=True))
    return {**found, **({"neck": neck} if neck else {}), "head": [head]}


def _units(net: nn.Module, head: str) -> tuple[list[str], list[str]]:
    """Return the paths of the layers that form stages, in order, and of loose parameters.

    A module is split into its children if it contains the class layer and others, or more than half
    of the network's parameters, with or without fully connected layers (nearly all of VGG's).
    """
    whole, maps = _size(net), _size_but_linear(net)
    units, loose = list[str](), list[str]()

    def look(path: str, module: nn.Module) -> None:
        if not _size(module):
            return
        children = list(module.named_children())
        above_head = head.startswith(f"{path}.") or not path
        large = 2 * _size(module) > whole or 2 * _size_but_linear(module) > maps
        if path != head and children and (above_head or large):
            inside = f"{path}." if path else ""
            if any(True for _ in module.buffers(recurse=False)):
                raise CallerError(f"{type(net).__name__} has buffers outside its layers "
                                  f"({path or 'at the top'}): its stages cannot be determined")
            loose.extend(inside + name for name, _ in module.named_parameters(recurse=False))
            for name, child in children:
                look(inside + name, child)
        else:
            units.append(path)

    look("", net)
    return units, loose


def _size(module: nn.Module) -> int:
    return sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))


def _size_but_linear(module: nn.Module) -> int:
    return _size(module) - sum(_size(part) for part in module.modules()
                               if isinstance(part, nn.Linear))


def _sides(net: nn.Module, paths: list[str]) -> dict[str, int]:
    """Return the side of each unit's output map, or its number of tokens, if it has any."""
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
            size = getattr(net, "image_size", NATIVE_SIZE)  # the only size a ViT accepts
            images = torch.empty(1, 3, size, size, device="meta")
            functional_call(net.eval(), shapes, (images,))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    return sides


def _side(out: object) -> int | None:
    if isinstance(out, Tensor) and out.ndim == 3:  # tokens
        return out.shape[1]
    if not isinstance(out, Tensor) or out.ndim != 4:
        return None
    _, a, b, c = out.shape  # channels first, or last as in Swin
    side = b if b == c else a if a == b else None
    return side if side and side > 1 else None
