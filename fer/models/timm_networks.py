"""Networks of timm by name, randomly initialised: `timm/resnet50`, `timm/vit_base_patch16_224`.

Nothing is downloaded. Weights by name are in `fer.config.library_models`. Loading this module does
not import timm.
"""

import inspect
import itertools
import sys
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from fer.errors import CallerError
from fer.models.classifier import StageMap
from fer.models.feature_stages import stages_by_features
from fer.models.resolution_stages import stages_by_resolution
from fer.plain_text import shortened

NO_OPTIONS = frozenset((  # filled in here, or leading to files and to other kinds of networks
    "self", "cfg", "num_classes", "in_chans", "img_size", "device", "dtype", "pretrained",
    "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "checkpoint_path", "features_only",
    "pruned"))
NEAREST = 5


class TimmNetwork:
    """An architecture of timm: how it is built, and its stages and options.

    A network with a fixed input size (ViT, Swin, MaxViT) is built for the run's.
    """

    def __init__(self, name: str) -> None:
        """Args:
        name: without `timm/`; the name of weights after a dot does not matter here.

        Raises:
            CallerError: timm has no such model, or it has several class layers.
        """
        import timm

        self.name = name.partition(".")[0]
        if not timm.is_model(self.name):
            known = timm.list_models()
            near = get_close_matches(name, known, NEAREST, 0.4) or known[:NEAREST]
            raise CallerError(f"timm has no model '{shortened(name)}'; similar: {', '.join(near)}")
        self._known = timm.get_pretrained_cfg(self.name) or timm.models.PretrainedCfg()
        if not isinstance(self._known.classifier, str | None):
            raise CallerError(f"timm's '{name}' has {len(self._known.classifier)} class layers, "
                              "and recipes need one")
        self._options: dict[str, Any] = {}  # of the network made last: `stages` builds its twin

    def make(self, num_classes: int, input_size: int, **options: Any) -> nn.Module:
        """Return the network.

        Args:
            options: numbers and names that its class takes, such as `drop_path_rate`.

        Raises:
            CallerError: an input size that it does not take.
        """
        self._options = {key: value for key, value in options.items() if key not in NO_OPTIONS}
        try:
            net = self._create(num_classes, input_size)
        except (AssertionError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError
                ) as error:
            raise CallerError(f"timm's '{self.name}' cannot be built for images of {input_size} px"
                              f"{' with these options' if options else ''}: "
                              f"{shortened((str(error).splitlines() or ['no reason given'])[0])}"
                              ) from error
        if self._known.classifier and self._known.classifier not in dict(net.named_modules()):
            raise CallerError(f"timm's '{self.name}' is not an image classifier")
        _refuse_cropping(net, self.name, input_size)
        return net

    def _create(self, num_classes: int, size: int) -> nn.Module:
        import timm

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as names that timm has renamed
            try:
                net = timm.create_model(self.name, num_classes=num_classes, img_size=size,
                                        **self._options)
                net.image_size = size  # type: ignore[assignment]
            except TypeError as error:
                if "img_size" not in str(error):
                    raise
                net = timm.create_model(self.name, num_classes=num_classes, **self._options)
        return net

    def stages(self, net: nn.Module) -> StageMap:
        """Return the stages: by resolution, or four groups of blocks where it is constant.

        They do not depend on the input size: where the network does, and does not name its feature
        maps, a twin on `meta` with the size of its published weights is looked at.

        Raises:
            CallerError: two stages share a layer.
        """
        found = self._stages(net)
        named = dict(net.named_parameters(remove_duplicate=False))
        held = [id(parameter) for path in itertools.chain(*found.values()) for parameter in
                ([named[path]] if path in named else net.get_submodule(path).parameters())]
        if len(held) > len(set(held)):
            raise CallerError(f"timm's '{self.name}' shares layers between its stages, which "
                              "recipes cannot tell apart")
        return found

    def _stages(self, net: nn.Module) -> StageMap:
        known: Mapping[str, Any] = getattr(net, "pretrained_cfg", {})  # of renamed networks too
        head = known.get("classifier")
        if head and (found := stages_by_features(net, head)):
            return found
        twin = net
        if hasattr(net, "image_size"):
            with torch.device("meta"):
                twin = self._create(2, max(self._known.input_size[1:]))
        return stages_by_resolution(twin, head)

    def option_names(self) -> tuple[str, ...]:
        """Return the valid names of `options` in the backbone's YAML."""
        with torch.device("meta"):
            net = self._create(2, max(self._known.input_size[1:]))
        names = {name for kind in type(net).__mro__ if kind.__module__.startswith("timm.")
                 for name, one in inspect.signature(kind).parameters.items()
                 if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        return tuple(sorted(names - NO_OPTIONS))


def _refuse_cropping(net: nn.Module, name: str, size: int) -> None:
    """Refuse a size of which patches would leave out the rest."""
    patches = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    side = patches[0] if isinstance(patches, tuple) else 1
    if size % side:
        fitting = [size // side * side, (size // side + 1) * side]
        raise CallerError(f"timm's '{name}' takes multiples of {side} px, such as "
                          f"{' and '.join(str(one) for one in fitting if one)}, not images of "
                          f"{size} px (backbone.input_size)")


def translated(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return weights in the form of a network of timm, as `timm.create_model` would load them.

    Names of the original's authors are translated, and position embeddings and tables resized to
    the network's input size, by the function that timm has for the architecture.

    Args:
        state: with the names of timm or of the original.

    Returns:
        None for a network of others, and where timm does not know the weights.
    """
    module = sys.modules.get(type(net).__module__)
    translate = getattr(module, "checkpoint_filter_fn", None)
    if translate is None or not type(net).__module__.startswith("timm."):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the speed of its interpolation
            found = translate(dict(state), net)
    except (KeyError, IndexError, ValueError, RuntimeError, AttributeError, TypeError,
            AssertionError):
        return None
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}
