"""Registry of architectures: declaration, and building a classifier from its YAML.

Weights are in `fer.models.weights`, the architectures in `fer.models.architectures`.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fer.config.backbone import Backbone
from fer.errors import CallerError, choices
from fer.models import architectures
from fer.models.classifier import Classifier, StageMap
from fer.plain_text import shortened

_GIVEN = ("num_classes", "input_size")  # filled in by `build`, never by the YAML's `options`
_declared: dict[str, "Architecture"] = {}


@dataclass(frozen=True)
class Architecture:
    """A function that builds the network, and one that returns its stages, input to output."""

    name: str
    make: Callable[..., nn.Module]
    stages: Callable[[nn.Module], StageMap]
    option_names: Callable[[], tuple[str, ...]] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """Valid names of `options` in the backbone's YAML."""
        if self.option_names is not None:
            return self.option_names()
        return tuple(key for key in inspect.signature(self.make).parameters if key not in _GIVEN)


def architecture(
    name: str, stages: Callable[[nn.Module], StageMap]
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Declare the decorated function as the architecture `name`.

    The function has the signature `(num_classes: int, [input_size: int,] **options) -> nn.Module`
    and returns a network from N x 3 x H x W float32 to N x num_classes logits.

    Args:
        name: the value of `arch` in a backbone's YAML.
        stages: network -> ordered mapping of stage name to paths, see `StageMap`; the stages
            contain each parameter and buffer exactly once, and the last is `head`, the class layer.
            Shared names (`stem`, `stage1` …, `head`) make recipes applicable to all backbones.
    """

    def declare(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        assert name not in _declared, f"two architectures are named '{name}'"
        _declared[name] = Architecture(name, make, stages)
        return make

    return declare


def names() -> list[str]:
    """Return the names of all architectures, sorted."""
    return sorted(_discovered())


def find(name: str) -> Architecture:
    """Return the architecture `name`; raise a CallerError with the known names if it is unknown.

    `pytorchcv/MODEL`, `timm/MODEL` and `torchvision/MODEL` need no declaration.
    """
    if "/" in name:
        from fer.models import libraries  # imports this module indirectly

        return Architecture(name, *libraries.named(name))
    known = _discovered()
    if name not in known:
        raise CallerError(f"no architecture '{name}'; there are: {choices(known)}, and "
                          "timm/MODEL, torchvision/MODEL and pytorchcv/MODEL")
    return known[name]


def build(backbone: Backbone, classes: Sequence[str]) -> Classifier:
    """Return a randomly initialised classifier; uses torch's global generator.

    Args:
        backbone: architecture, options and preprocessing.
        classes: class names in the order of the logits.

    Raises:
        CallerError: unknown architecture or option, or invalid values.
    """
    declared = find(backbone.arch)
    valid = declared.options if backbone.options else ()
    for option in backbone.options:
        if option not in valid:
            raise CallerError(
                f"backbone '{backbone.name}': architecture '{backbone.arch}' has no option "
                f"'{option}'; it has: {choices(valid) or 'none'}"
            )
    arguments: dict[str, object] = dict(backbone.options)
    if "input_size" in inspect.signature(declared.make).parameters:
        arguments["input_size"] = backbone.input_size
    try:
        net = declared.make(len(classes), **arguments)
    except CallerError:
        raise
    except (ValueError, TypeError, ArithmeticError, LookupError, RuntimeError) as error:
        if not backbone.options:  # not a matter of what was asked for
            raise
        raise CallerError(f"backbone '{backbone.name}': architecture '{backbone.arch}' cannot be "
                          f"built with these options: {shortened(str(error))}") from error
    return Classifier(net, declared.stages(net), backbone, classes)


def stage_names(backbone: Backbone) -> tuple[str, ...]:
    """Return the backbone's stages, input to output, without allocating its weights."""
    with torch.device("meta"):
        return tuple(build(backbone, ("a", "b")).stages)


def _discovered() -> Mapping[str, Architecture]:
    for module in pkgutil.iter_modules(architectures.__path__):
        importlib.import_module(f"{architectures.__name__}.{module.name}")
    return _declared
