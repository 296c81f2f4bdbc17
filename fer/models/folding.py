"""Networks for forward passes alone: batch-norm folded into the convolutions before it.

Not for what trains: the folded layers have no statistics of their own any more.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fer.models.classifier import Classifier

RTOL = 1e-3  # of features and logits, on noise; folding moves them by a few millionths


def folded(model: Classifier) -> Classifier:
    """Return a copy in eval mode, equal to the model's up to rounding, that is faster.

    Which batch-norm takes a convolution's output is seen in a forward pass of noise, so that any
    network will do. Features and logits of both are compared on it; if they differ, it is a plain
    copy.
    """
    copied = copy.deepcopy(model).eval()
    size, device = model.backbone.input_size, model.mean.device
    noise = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8,
                          generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        pairs = _watch(copied, noise)
        before = copied.features(noise), copied(noise)
        net = copy.deepcopy(copied.net)
        for conv_path, norm_path in pairs.items():
            conv, norm = net.get_submodule(conv_path), net.get_submodule(norm_path)
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm)
            net.set_submodule(conv_path, fuse_conv_bn_eval(conv, norm))
            net.set_submodule(norm_path, nn.Identity())
        plain, copied.net = copied.net, net
        if not all(map(_alike, (copied.features(noise), copied(noise)), before)):
            copied.net = plain
    return copied


def _alike(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=RTOL, atol=RTOL * float(expected.abs().max()))


def _watch(model: Classifier, images: Tensor) -> dict[str, str]:
    """Return which batch-norm directly follows which convolution, by path."""
    given: dict[int, tuple[Tensor, int, str]] = {}  # the tensor too: else its id is used again
    pairs: dict[str, str] = {}
    calls: list[str] = []

    def after_conv(name: str, out: Tensor) -> None:
        given[id(out)] = out, out._version, name
        calls.append(name)

    def before_norm(name: str, taken: Tensor) -> None:
        calls.append(name)
        known = given.get(id(taken))
        if known is not None and known[1] == taken._version:  # nothing was done to it in place
            pairs[known[2]] = name

    handles = []
    for name, module in model.net.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(
                lambda _, inputs, out, name=name: after_conv(name, out)))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(
                lambda _, inputs, name=name: before_norm(name, inputs[0])))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    once = {name for name in calls if calls.count(name) == 1}
    return {conv: norm for conv, norm in pairs.items() if {conv, norm} <= once}
