"""Stages of a network of timm, from what it says of its own feature maps (`feature_info`).

Networks that say nothing are run instead: `fer.models.resolution_stages`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from fer.models.classifier import StageMap
from fer.models.resolution_stages import in_parts, stage_map

HALVED = 2  # the reduction of a stem's map; a first map that is smaller follows the stem


@dataclass
class _Walk:
    """The layers of a network in the order of its modules.

    Attributes:
        units: paths of layers with parameters.
        outside: parameters outside these layers, and layers with buffers alone.
        places: path of a module -> number of units before and after it.
    """

    units: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)


def stages_by_features(net: nn.Module, head: str) -> StageMap | None:
    """Return `stem`, a stage a feature map, optional `neck`, and `head`; None if it names no maps.

    Blocks of one resolution (ViT) form four groups. What lies between the last map and the class
    layer is the neck. Parameters outside layers (class token, position embedding), and layers with
    buffers alone (tables of rotary embeddings), belong to the stem.

    Args:
        head: path of the class layer.
    """
    known = [one for one in getattr(net, "feature_info", None) or () if "module" in one]
    modules = [str(one["module"]) for one in known]
    walk = _Walk()
    if not _visit(net, "", (*modules, head), walk) or not modules:
        return None
    walk.units.remove(head)
    if any(module not in walk.places for module in modules):
        return None
    starts, ends = zip(*(walk.places[module] for module in modules), strict=True)
    if any(before >= after for before, after in zip((0, *ends), ends, strict=False)):
        return None
    cuts = ends
    columnar = len({one.get("reduction") for one in known}) == 1 and len(modules) > 1
    if (columnar or known[0].get("reduction", 0) > HALVED) and starts[0] > 0:
        cuts = (starts[0], *ends)
    groups = [walk.units[start:end] for start, end in zip((0, *cuts), cuts, strict=False)]
    if columnar:
        blocks = [unit for group in groups[1:] for unit in group]
        groups = [groups[0], *in_parts(blocks)]
    groups[0] = [*groups[0], *walk.outside]
    return stage_map(groups, walk.units[cuts[-1]:], head)


def _visit(module: nn.Module, path: str, inner: Sequence[str], walk: _Walk) -> bool:
    """Add the layers of a module; split it where it contains one of the modules `inner`.

    Returns:
        whether it can be split there: buffers outside layers belong to no stage.
    """
    start = len(walk.units)
    prefix = f"{path}." if path else ""
    tensors = {id(one) for one in (*module.parameters(), *module.buffers())}
    if any(one.startswith(prefix) and one != path for one in inner):
        if any(True for _ in module.buffers(recurse=False)):
            return False
        walk.outside += [prefix + name for name, _ in module.named_parameters(recurse=False)]
        for name, child in module.named_children():
            if not _visit(child, prefix + name, inner, walk):
                return False
    elif not tensors <= walk.seen:  # neither without any, nor a layer that several modules share
        walk.seen |= tensors
        has_weights = any(True for _ in module.parameters())
        (walk.units if has_weights else walk.outside).append(path)
    walk.places[path] = start, len(walk.units)
    return True
