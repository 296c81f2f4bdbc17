"""Any classifier of a library by name: `timm/resnet34`, `torchvision/resnet34`, `pytorchcv/…`.

Randomly initialised; nothing is downloaded. Stages are derived from the structure: pytorchcv names
them in its modules, for the others they are the layers at one resolution.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches

import torch
from torch import nn

from fer.errors import CallerError, choices
from fer.models.architectures.pytorchcv_networks import at_size
from fer.models.architectures.pytorchcv_networks import stages as stages_of_pytorchcv
from fer.models.classifier import StageMap
from fer.models.resolution_stages import stages_by_resolution
from fer.models.timm_networks import TimmNetwork

LIBRARIES = ("pytorchcv", "timm", "torchvision")

Maker = Callable[..., nn.Module]
Stages = Callable[[nn.Module], StageMap]
OptionNames = Callable[[], tuple[str, ...]]


def named(name: str) -> tuple[Maker, Stages, OptionNames | None]:
    """Return functions for `LIBRARY/MODEL`: its network, the stages, and the names of its options.

    Raises:
        CallerError: no such library or model.
    """
    library, _, model = name.partition("/")
    if library == "pytorchcv":
        return _pytorchcv(model), stages_of_pytorchcv, None
    if library == "timm":
        network = TimmNetwork(model)
        return network.make, network.stages, network.option_names
    if library == "torchvision":
        return _torchvision(model), stages_by_resolution, None
    raise CallerError(f"no library '{library}' for architecture '{name}'; there are: "
                      f"{choices(LIBRARIES)}")


def _pytorchcv(model: str) -> Maker:
    from pytorchcv.model_provider import get_model

    def make(num_classes: int, input_size: int) -> nn.Module:
        """Return the network; raise a `CallerError` if the library cannot make it so."""
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
        """Return the network; raise a `CallerError` if the library cannot make it so."""
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
