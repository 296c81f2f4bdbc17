"""What a network says of its own parameters: its layers, and which are not to decay.

Networks of timm do; others say nothing. Optimiser groups are made in `fer.transfer.phases`.
"""

from fnmatch import fnmatch

from torch import nn


def decay_layers(net: nn.Module) -> dict[str, int]:
    """Return parameter name -> its layer, 0 at the input, as timm groups them for layer decay.

    The last layer has the class layer and what follows the blocks. Where timm has no groups
    (CAFormer), they are the numbered modules: `stages.1.blocks.2`. Empty for networks of others.
    """
    if not type(net).__module__.startswith("timm."):
        return {}
    from timm.models import group_parameters

    matcher = getattr(net, "group_matcher", None)
    groups = _numbered if matcher is None else matcher(coarse=False)
    return dict(group_parameters(net, groups, reverse=True))


def _numbered(name: str) -> tuple[float, ...]:
    """Return the place of a parameter: (1, 2) in `stages.1.blocks.2`; the stem first, then blocks,
    and last what has no number."""
    if name.startswith("stem"):
        return (-1.0,)
    numbers = [float(part) for part in name.split(".")[:-1] if part.isdecimal()]
    return tuple(numbers[:2]) or (float("inf"),)


def undecayed(net: nn.Module) -> frozenset[str]:
    """Return the names of parameters that the network itself exempts from weight decay.

    They are class tokens, position embeddings and tables of relative positions. Empty for networks
    of others than timm.
    """
    exempt = getattr(net, "no_weight_decay", None)
    if exempt is None:
        return frozenset()
    patterns = exempt()
    return frozenset(name for name, _ in net.named_parameters()
                     if any(fnmatch(name, pattern) for pattern in patterns))
