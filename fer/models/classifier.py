"""A network with its preprocessing, class names, stages and frozen parts.

Networks are built in `fer.models.registry`; which stages are frozen is decided in
`fer.transfer.phases`. Frozen stages stay frozen when `train()` is called.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fer.config.backbone import Backbone
from fer.models.parameter_groups import decay_layers, undecayed

StageMap = Mapping[str, Sequence[str]]
"""Stage name -> paths of submodules, or of parameters outside layers (the position embedding of a
ViT); ordered from input to output."""

UINT8_MAX = 255.0
LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601), as in Pillow


class Classifier(nn.Module):
    """A classifier that maps images to logits.

    Attributes:
        net: the bare network, N x 3 x H x W float32 -> N x classes.
        backbone: the configuration it was built from.
        classes: class names in the order of the logits.
        frozen_stages: stages kept in eval mode, regardless of `train()`.
        batch_norm_frozen: whether all batch-norm layers are kept in eval mode too.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, net: nn.Module, stages: StageMap, backbone: Backbone, classes: Sequence[str]
    ):
        super().__init__()
        self.net = net
        self.backbone = backbone
        self.classes = tuple(classes)
        self.frozen_stages: frozenset[str] = frozenset()
        self.batch_norm_frozen = False
        self._frozen_modules: tuple[str, ...] = ()
        # paths, not modules: converting to SyncBatchNorm replaces modules
        self._paths = {stage: tuple(paths) for stage, paths in stages.items()}
        self._loose = frozenset(name for name, _ in net.named_parameters()
                                if any(name in paths for paths in self._paths.values()))
        # explicit device: these must be real even if the network is built on `meta`
        mean = torch.tensor(backbone.mean, device="cpu").view(1, 3, 1, 1)
        std = torch.tensor(backbone.std, device="cpu").view(1, 3, 1, 1)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self._plain = not any(backbone.mean) and all(value == 1 for value in backbone.std)
        self._check_stages()

    @property
    def stages(self) -> dict[str, tuple[nn.Module, ...]]:
        """Stage name -> its modules, from input to output; the last is `head`."""
        return {
            stage: tuple(self.net.get_submodule(path) for path in paths if path not in self._loose)
            for stage, paths in self._paths.items()
        }

    @property
    def head_keys(self) -> frozenset[str]:
        """Keys of `net.state_dict()` that belong to the stage `head`."""
        starts = tuple(f"{path}." for path in self._paths["head"])
        return frozenset(key for key in self.net.state_dict() if key.startswith(starts))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32, N x classes.

        Args:
            images: N x 3 x H x W, RGB, uint8 in 0…255 or floating point in 0…1; contiguous or
                channels_last, which is kept.
        """
        logits: Tensor = self.net(self.preprocess(images))
        return logits.float()

    @property
    def head(self) -> nn.Module:
        """The class layer, including dropout or pooling before it."""
        (head,) = self.stages["head"]
        return head

    @property
    def head_path(self) -> str:
        """The path of `head` in the network."""
        (path,) = self._paths["head"]
        return path

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the head for `images`: float, N x D or N x D x h x w."""
        given: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            self(images)
        finally:
            handle.remove()
        return given[0]

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits for `features`, equal to `forward` of their images."""
        logits: Tensor = self.head(features)
        return logits.flatten(1).float()

    def preprocess(self, images: Tensor) -> Tensor:
        """Return normalised float32 images of the same shape and strides.

        A uint8 image and the same image divided by 255 give the same result up to rounding, and
        exactly the same if mean is 0 and std is 1.
        """
        counted = images.dtype == torch.uint8
        floats = images.float()
        if self.backbone.grey:
            shares = floats.new_tensor(LUMINANCE).view(1, 3, 1, 1)
            floats = (floats * shares).sum(1, keepdim=True).expand_as(floats).contiguous(
                memory_format=torch.channels_last if _is_channels_last(images)
                else torch.contiguous_format)
        if self._plain:
            return floats.div_(UINT8_MAX) if counted else floats
        scale = 1 / (self.std * UINT8_MAX) if counted else 1 / self.std
        return torch.addcmul(-self.mean / self.std, floats, scale)

    def freeze(self, stages: Iterable[str], batch_norm: bool) -> None:
        """Freeze exactly these stages: no gradients, no updates of running statistics, no dropout.

        Args:
            stages: names of the stages; all others are unfrozen.
            batch_norm: freeze the statistics of all batch-norm layers, in unfrozen stages too.
        """
        self.frozen_stages = frozenset(stages)
        self.batch_norm_frozen = batch_norm
        self._frozen_modules = ()
        unknown = self.frozen_stages - self._paths.keys()
        assert not unknown, f"no such stages: {sorted(unknown)}"
        for stage in self._paths:
            for _, parameter in self.stage_parameters(stage):
                parameter.requires_grad_(stage not in self.frozen_stages)
                parameter.grad = None
        self.train(self.training)

    def freeze_untrained_modules(self) -> None:
        """Keep modules in eval mode, too, of which no parameter has a gradient; until `freeze`."""
        self._frozen_modules = tuple(
            path for path, module in self.net.named_modules()
            if (parameters := list(module.parameters()))
            and not any(parameter.requires_grad for parameter in parameters))
        self.train(self.training)

    def train(self, mode: bool = True) -> "Classifier":
        """Set the mode like `nn.Module.train`, but keep frozen parts in eval mode."""
        super().train(mode)
        stages = self.stages
        for stage in self.frozen_stages:
            for module in stages[stage]:
                module.eval()
        for path in self._frozen_modules:
            self.net.get_submodule(path).eval()
        if self.batch_norm_frozen:
            for layer in self.batch_norms():
                layer.eval()
        return self

    @cached_property
    def layers(self) -> dict[str, int]:
        """Name of a parameter in the network -> its layer, 0 at the input, for rates per block.

        The last layer is the head, and what lies between the blocks and it. Empty for networks
        that name no blocks: those that are not of timm.
        """
        return decay_layers(self.net)

    @property
    def layer_count(self) -> int:
        """Number of layers in `layers`; 0 if the network names no blocks."""
        return len(set(self.layers.values()))

    @cached_property
    def without_decay(self) -> frozenset[str]:
        """Names of parameters that a network of timm exempts from weight decay: embeddings, tables.

        With norms and biases, in `fer.transfer.phases`.
        """
        return undecayed(self.net)

    def stage_parameters(self, stage: str) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield (name in the network, parameter) of one stage, in a fixed order."""
        for path in self._paths[stage]:
            if path in self._loose:
                yield path, self.net.get_parameter(path)
                continue
            for name, parameter in self.net.get_submodule(path).named_parameters():
                yield f"{path}.{name}", parameter

    def batch_norms(self, stage: str | None = None) -> list[nn.Module]:
        """Return the batch-norm layers of one stage, or of the whole network."""
        roots = (self.net,) if stage is None else self.stages[stage]
        return [module for root in roots for module in root.modules()
                if isinstance(module, _BatchNorm)]

    def _check_stages(self) -> None:
        assert list(self._paths)[-1:] == ["head"], f"the last stage is not 'head': {self._paths}"
        held = [id(parameter) for stage in self._paths
                for _, parameter in self.stage_parameters(stage)]
        held += [id(buffer) for modules in self.stages.values() for module in modules
                 for buffer in module.buffers()]
        whole = {id(tensor) for tensor in (*self.net.parameters(), *self.net.buffers())}
        assert len(held) == len(set(held)), "a tensor belongs to two stages"
        assert set(held) == whole, "a parameter or buffer belongs to no stage"


def _is_channels_last(images: Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)
