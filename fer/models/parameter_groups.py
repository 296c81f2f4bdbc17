"""What a network says of its own parameters: its layers, and which are not to decay.

Networks of timm do; others say nothing. Optimiser groups are made in `fer.transfer.phases`.
"""

from fnmatch import fnmatch

from torch import nn


def decay_layers(net: nn.Module) -> dict[str, int]:
    """Return parameter name -> its layer, 0 at the input, as timm groups them for layer decay.

    The last layer has the class layer and what follows the blocks. Empty for networks of others,
    and for the few of timm without groups.
    """
    matcher = getattr(net, "group_matcher", None)
    if matcher is None:
        return {}
    from timm.models import group_parameters

    return dict(group_parameters(net, matcher(coarse=False), reverse=True))


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
