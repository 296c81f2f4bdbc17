"""Backbones of pytorchcv, at any input size, with stages derived from the module structure.

Nothing is downloaded: pytorchcv only provides randomly initialised networks.
"""

from collections.abc import Callable

from torch import nn

from fer.errors import CallerError
from fer.models.classifier import StageMap
from fer.models.registry import architecture

NATIVE_SIZE = 224  # for which pytorchcv's fixed poolings and fully connected layers are made
SMALLEST_SIZE = 32  # the networks halve the resolution five times
VGG_GRID = 7  # side of the input feature map of vgg's first fully connected layer


def stages(net: nn.Module) -> StageMap:
    """Return the stages of a pytorchcv network: `stem`, `stage1` …, optional `neck`, and `head`.

    The head is the class layer, the last Linear or Conv2d of `output`. If other layers before it
    have weights, they are the neck; layers without weights (dropout, pooling) belong to the head.
    """
    features = net.get_submodule("features")
    found: dict[str, list[str]] = {"stem": []}
    for name, child in features.named_children():
        path = f"features.{name}"
        if name == "init_block":
            found["stem"].append(path)
        elif not name.startswith("stage"):  # final pooling, a last activation or convolution
            found[list(found)[-1]].append(path)
        elif found["stem"]:
            found[name] = [path]
        else:  # without a stem, as in vgg, the first unit is the stem
            first, *rest = [f"{path}.{unit}" for unit, _ in child.named_children()]
            found["stem"], found[name] = [first], rest
    return {**found, **_output_stages(net.get_submodule("output"))}


def _output_stages(output: nn.Module) -> dict[str, list[str]]:
    layers = [f"output.{path}" if path else "output" for path, module in output.named_modules()
              if isinstance(module, nn.Linear | nn.Conv2d)]
    assert layers, "pytorchcv network without a class layer"
    if len(layers) == 1 and all(
        not list(child.parameters()) or f"output.{name}" == layers[0]
        for name, child in output.named_children()
    ):
        return {"head": ["output"]}
    head = layers[-1]
    neck = [path for name, _ in output.named_children() if (path := f"output.{name}") != head]
    return {"neck": neck, "head": [head]}


def at_size(net: nn.Module, input_size: int) -> nn.Module:
    """Replace the fixed final pooling by an adaptive one, unless the size is the native one.

    Raises:
        CallerError: a size that the network does not support.
    """
    if input_size < SMALLEST_SIZE:
        raise CallerError(f"input_size {input_size}: this backbone takes at least {SMALLEST_SIZE}")
    features = net.get_submodule("features")
    native = getattr(net, "in_size", (NATIVE_SIZE, NATIVE_SIZE))[0]
    if input_size != native:
        is_vgg = type(net).__name__ == "VGG"
        if not is_vgg and not hasattr(features, "final_pool"):
            raise CallerError(f"input_size {input_size}: {type(net).__name__} takes {native} only")
        features.add_module("final_pool", nn.AdaptiveAvgPool2d(VGG_GRID if is_vgg else 1))
    return net


def _make(factory: Callable[..., nn.Module], num_classes: int, input_size: int) -> nn.Module:
    return at_size(factory(num_classes=num_classes, pretrained=False), input_size)


# importing pytorchcv takes a second, so each function imports its module when called


@architecture("cbam_resnet50", stages)
def cbam_resnet50(num_classes: int, input_size: int = NATIVE_SIZE) -> nn.Module:
    """Return ResNet-50 with channel and spatial attention (Woo et al. 2018)."""
    from pytorchcv.models.cbamresnet import cbam_resnet50 as factory

    return _make(factory, num_classes, input_size)


@architecture("vgg19", stages)
def vgg19(num_classes: int, input_size: int = NATIVE_SIZE) -> nn.Module:
    """Return VGG-19 without batch-norm (Simonyan and Zisserman 2014)."""
    from pytorchcv.models.vgg import vgg19 as factory

    return _make(factory, num_classes, input_size)


@architecture("mobilenet_w1", stages)
def mobilenet_w1(num_classes: int, input_size: int = NATIVE_SIZE) -> nn.Module:
    """Return MobileNet of width 1 (Howard et al. 2017)."""
    from pytorchcv.models.mobilenet import mobilenet_w1 as factory

    return _make(factory, num_classes, input_size)
