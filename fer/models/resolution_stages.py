"""Stages of a network from its structure: consecutive layers with feature maps of one size.

For networks of libraries, which do not name their stages alike: `fer.models.libraries`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fer.errors import CallerError
from fer.models.classifier import StageMap

NATIVE_SIZE = 224  # pixels: what networks without an attribute `image_size` are run with
PARTS = 4  # stages of a network with constant resolution


def stages_by_resolution(net: nn.Module, head: str | None = None) -> StageMap:
    """Return the stages `stem`, `stage1` …, optional `neck`, and `head` by output resolution.

    The network is run on torch's `meta` device. Consecutive layers with feature maps of one size,
    or with the same number of tokens, form a stage. If the size never changes after the first
    layer, the others form four equal stages. Layers after the last map are the neck; the class
    layer is the head. Parameters outside layers (class token, position embedding) belong to the
    stem, and so do layers with buffers alone (tables of rotary embeddings).

    Args:
        net: its attribute `image_size` is the side that it is run with, in pixels; else 224.
        head: path of the class layer; by default the last linear layer or convolution.

    Raises:
        CallerError: buffers outside layers, or no feature maps.
    """
    head = head or [path for path, module in net.named_modules()
                    if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    units, loose = _units(net, head)
    sides = _sides(net, units)
    if len(sides) == 1 and (inside := next(iter(sides))) != head:  # all maps are in one module
        units, loose = _units(net, head, inside)
        sides = _sides(net, units)
    tables = [path for path in units if not any(True for _ in net.get_submodule(path).parameters())]
    units = [path for path in units if path not in (head, *tables)]
    stages, neck = _grouped(units, sides)
    if not stages:
        raise CallerError(f"{type(net).__name__} has no feature maps to define stages")
    if 2 * len(neck) > len(units):  # such as parallel branches: by order alone
        stages, neck = [units], []
    if len(stages) == 1 or (len(stages) == 2 and len(stages[0]) == 1):
        first, *rest = itertools.chain(*stages)
        stages = [[first], *in_parts(rest)]
    stages[0] += [*loose, *tables]
    return stage_map(stages, neck, head)


def in_parts(units: Sequence[str]) -> list[list[str]]:
    """Return four groups of layers of about equal number, fewer where there are fewer layers."""
    parts = min(PARTS, len(units))
    return [list(units[len(units) * part // parts : len(units) * (part + 1) // parts])
            for part in range(parts)]


def stage_map(stages: Sequence[Sequence[str]], neck: Sequence[str], head: str) -> StageMap:
    """Return stages by name: the first is the stem."""
    names = ["stem", *(f"stage{number}" for number in range(1, len(stages)))]
    found = dict(zip(names, stages, strict=True))
    return {**found, **({"neck": neck} if neck else {}), "head": [head]}


def _grouped(units: Sequence[str], sides: Mapping[str, int]) -> tuple[list[list[str]], list[str]]:
    """Return groups of consecutive layers with maps of one size, and the layers without maps."""
    stages: list[list[str]] = []
    neck: list[str] = []
    before = None
    for path in units:
        side = sides.get(path)
        if side is None:
            neck.append(path)
        elif side == before:
            stages[-1].append(path)
        else:
            stages.append([path])
            before = side
    return stages, neck


def _units(net: nn.Module, head: str, inside: str | None = None
           ) -> tuple[list[str], list[str]]:
    """Return the paths of the layers that form stages, in order, and of loose parameters.

    A module is split into its children if it contains the class layer and others, or more than half
    of the network's parameters, with or without fully connected layers (nearly all of VGG's); and
    the module `inside`.
    """
    whole, maps = _size(net), _size_but_linear(net)
    units, loose = list[str](), list[str]()
    seen: set[int] = set()

    def look(path: str, module: nn.Module) -> None:
        """Add a module to the units, or its children where it is to be split."""
        tensors = {id(one) for one in (*module.parameters(), *module.buffers())}
        if tensors <= seen:  # none, or those of a layer that several modules share
            return
        children = list(module.named_children())
        above_head = head.startswith(f"{path}.") or not path
        large = (2 * _size(module) > whole or 2 * _size_but_linear(module) > maps
                 or path == inside)
        has_buffers = any(True for _ in module.buffers(recurse=False))
        if path != head and children and (above_head or (large and not has_buffers)):
            prefix = f"{path}." if path else ""
            if has_buffers:
                raise CallerError(f"{type(net).__name__} has buffers outside its layers "
                                  f"({path or 'at the top'}): its stages cannot be determined")
            loose.extend(prefix + name for name, _ in module.named_parameters(recurse=False))
            for name, child in children:
                look(prefix + name, child)
        else:
            units.append(path)
            seen.update(tensors)

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
    if isinstance(out, tuple | list) and out:  # tokens and the sides of their map
        return _side(out[0])
    if isinstance(out, Tensor) and out.ndim == 3:  # tokens, of a map or with a class token
        root = math.isqrt(out.shape[1])
        return root if root * root == out.shape[1] and root > 1 else out.shape[1]
    if not isinstance(out, Tensor) or out.ndim != 4:
        return None
    _, a, b, c = out.shape  # channels first, or last as in Swin
    side = b if b == c else a if a == b else None
    return side if side and side > 1 else None
