"""Any classifier of pytorchcv or torchvision by name: `pytorchcv/resnet34`, `torchvision/resnet34`.

Random weights only; nothing is downloaded. Stages are read off the structure: pytorchcv's are named
in its modules, torchvision's are what works at one resolution.
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
        except AssertionError:  # such as those for CIFAR, which have 10 or 100 classes
            raise CallerError(f"pytorchcv's '{model}' cannot have {num_classes} classes") from None
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
        more: dict[str, object] = {"num_classes": num_classes, "weights": None}
        if "aux_logits" in takes or model == "googlenet":
            more["aux_logits"] = False
        if model.startswith("vit_"):  # but for these two, pictures of any size will do
            more["image_size"] = input_size
        elif model.startswith("maxvit_"):
            more["input_size"] = (input_size, input_size)
        try:
            net = models.get_model(model, **more)
        except NotImplementedError:  # it computes its widths with tensors: not on `meta`
            with torch.device("cpu"):
                net = models.get_model(model, **more).to("meta")
        except (AssertionError, ValueError) as error:
            raise CallerError(f"torchvision's '{model}' cannot take pictures of {input_size} px: "
                              f"{error}") from None
        if "input_size" in more:
            net.image_size = input_size  # as a ViT says it
        return net

    return make


def stages_by_resolution(net: nn.Module) -> StageMap:
    """Name the stages `stem`, `stage1` …, perhaps `neck`, and `head` by what layers give.

    A picture goes through the network on torch's `meta` device; layers that give maps of one size,
    or as many tokens, make one stage. Where that never changes after the first layer, the others
    make four equal ones. Layers after the last map are the neck; the class layer is the head.
    Parameters beside the layers (class token, position embedding) are the stem's.

    Raises:
        CallerError: buffers that lie in no layer, or no map.
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
        raise CallerError(f"{type(net).__name__} has no maps that could be called stages")
    if len(stages) == 1 or (len(stages) == 2 and len(stages[0]) == 1):
        first, *rest = itertools.chain(*stages)
        stages = [[first], *(rest[len(rest) * part // PARTS : len(rest) * (part + 1) // PARTS]
                             for part in range(PARTS))]
    stages[0] += loose
    names = ["stem", *(f"stage{number}" for number in range(1, len(stages)))]
    found = dict(zip(names, stages, strict=True))
    return {**found, **({"neck": neck} if neck else {}), "head": [head]}


def _units(net: nn.Module, head: str) -> tuple[list[str], list[str]]:
    """Return the paths of the layers that stages are made of, in order, and of loose parameters.

    A module that holds the class layer beside others, or most of the network, or most of it but
    fully connected layers (which are nearly all of VGG), is opened.
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
                raise CallerError(f"{type(net).__name__} has buffers beside its layers "
                                  f"({path or 'at the top'}): its stages cannot be told apart")
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
    """Return the side of the map that each unit gives, or how many tokens, where it gives any."""
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
            size = getattr(net, "image_size", NATIVE_SIZE)  # where others do not pass
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
