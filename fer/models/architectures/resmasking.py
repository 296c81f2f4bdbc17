"""The ResMasking family: residual networks whose stages are reweighted by masking blocks.

Pham, Vu and Tran, "Facial Expression Recognition Using Residual Masking Network", ICPR 2020.
State-dict keys are those of the original implementation (github.com/phamquiluan/
ResidualMaskingNetwork) without its aliases, so that checkpoints can be converted both ways:
see `alias_of` and `fer.models.checkpoint_import`.
"""

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer.errors import CallerError
from fer.models.classifier import StageMap
from fer.models.registry import architecture

DROPOUT = 0.4  # of `resmasking_dropout1`, upstream
HIDDEN, HIDDEN_DROPOUT = 128, 0.5  # of `resmasking_dropout2`, upstream
EXPANSION = 4  # of a Bottleneck's channels
_ALIAS = re.compile(r"^(mask\d+)\.downsample(\d+)\.(.+)$")


def alias_of(key: str) -> str | None:
    """Return the second name that original state dicts give to the tensor `key`, if any.

    The original stores a masking block's shortcut in the block and again in its convolution:
    `mask1.downsample2.0.weight` is `mask1.conv2.downsample.0.weight`.
    """
    return _ALIAS.sub(r"\1.conv\2.downsample.\3", key) if _ALIAS.match(key) else None


def _shortcut(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2015), N x C x H x W."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, downsample: nn.Module | None = None
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """Return the activation; `shortcut` replaces the block's own if given."""
        if shortcut is None:
            shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2015), N x C x H x W.

    As in torchvision, the stride is in the 3x3 convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, downsample: nn.Module | None = None
    ):
        super().__init__()
        inner = outputs // EXPANSION
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class MaskingBlock(nn.Module):
    """A small U-Net that outputs a distribution over the channels at each position.

    The encoder has `depth` blocks, with a 2x2 max pooling before each but the first; the decoder
    has as many. Submodules are numbered consecutively, as in the original: `convI` with its
    shortcut `downsampleI`, I = 1 … 2·depth, and `up_poolI` where the decoder upsamples.

    Args:
        channels: of the input and of the output mask.
        depth: blocks of the encoder; height and width must be multiples of 2^(depth-1).
        growth: factor on the channels per encoder block.
    """

    def __init__(self, channels: int, depth: int, growth: int = 2):
        super().__init__()
        self.depth = depth
        widths = [channels * growth**level for level in range(depth + 1)]
        down = [(level, widths[level - 1], widths[level]) for level in range(1, depth + 1)]
        up = [
            (2 * depth - level, 2 * widths[level] if level else widths[1], widths[level])
            for level in reversed(range(depth))
        ]
        for numbered in (down, up):
            for index, inputs, outputs in numbered:
                self.add_module(f"downsample{index}", _shortcut(inputs, outputs))
            for index, inputs, outputs in numbered:
                level = 2 * depth - index
                if 0 < level < depth:
                    self.add_module(f"up_pool{index}", _up_pool(widths[level + 1], outputs))
                self.add_module(f"conv{index}", BasicBlock(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mask, of the input's shape; it sums to 1 over the channels."""
        passed: list[Tensor] = []
        for index in range(1, self.depth + 1):
            x = self._block(index, F.max_pool2d(x, 2) if passed else x)
            passed.append(x)
        passed.pop()
        for index in range(self.depth + 1, 2 * self.depth + 1):
            if passed:
                x = self.get_submodule(f"up_pool{index}")(x)
                x = torch.cat([x, passed.pop()], dim=1)
            x = self._block(index, x)
        return torch.softmax(x, dim=1)

    def _block(self, index: int, x: Tensor) -> Tensor:
        shortcut = self.get_submodule(f"downsample{index}")(x)
        block: Tensor = self.get_submodule(f"conv{index}")(x, shortcut)
        return block


def _up_pool(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResMasking(nn.Module):
    """A ResNet in which the features of stage i become x * (1 + mask_i(x)).

    Args:
        head: maps the pooled features, N x widths[-1], to logits.
        widths: output channels of each stage.
        blocks: number of blocks of each stage.
        mask_depths: depth of each stage's masking block; 0 for none.
        growth: channel growth in the masking blocks.
        small: for small images: a 3x3 stem without pooling, max pooling after each stage in
            place of strided convolutions (which lose details of 48-pixel faces), and torch's
            default initialisation, which learns faster here than He's with fan-out.
        bottleneck: use Bottlenecks, as in ResNet-50, in place of BasicBlocks.
    """

    def __init__(
        self,
        head: nn.Module,
        widths: Sequence[int],
        blocks: Sequence[int],
        mask_depths: Sequence[int],
        growth: int = 2,
        small: bool = False,
        bottleneck: bool = False,
    ):
        super().__init__()
        self.small = small
        self.mask_depths = tuple(mask_depths)
        kernel = 3 if small else 7
        block = Bottleneck if bottleneck else BasicBlock
        inputs = widths[0] // (EXPANSION if bottleneck else 1)
        self.conv1 = nn.Conv2d(3, inputs, kernel, 2, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            stride = 1 if number == 1 or small else 2
            self.add_module(f"layer{number}", _layer(block, inputs, width, count, stride))
            inputs = width
        if not small:
            _initialise(self)  # not the masking blocks: as upstream, they keep torch's defaults
        self.fc = head
        for number, (width, depth) in enumerate(zip(widths, mask_depths, strict=True), start=1):
            if depth:
                self.add_module(f"mask{number}", MaskingBlock(width, depth, growth))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, of images N x 3 x H x W."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if not self.small:
            x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
        for number, depth in enumerate(self.mask_depths, start=1):
            x = self.get_submodule(f"layer{number}")(x)
            if depth:
                x = x * (1 + self.get_submodule(f"mask{number}")(x))
            if self.small:
                x = F.max_pool2d(x, 2)
        logits: Tensor = self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _layer(block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, count: int,
           stride: int) -> nn.Sequential:
    changes = stride != 1 or inputs != width
    first = block(inputs, width, stride, _shortcut(inputs, width, stride) if changes else None)
    return nn.Sequential(first, *(block(width, width) for _ in range(count - 1)))


def _initialise(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def stages(net: nn.Module) -> StageMap:
    """Return the stages of a ResMasking network; a masking block belongs to its features."""
    assert isinstance(net, ResMasking)
    found: dict[str, tuple[str, ...]] = {"stem": ("conv1", "bn1")}
    for number, depth in enumerate(net.mask_depths, start=1):
        found[f"stage{number}"] = (f"layer{number}", *([f"mask{number}"] if depth else []))
    if isinstance(net.fc, nn.Sequential):
        *hidden, last = [f"fc.{name}" for name, layer in net.fc.named_children()
                         if isinstance(layer, nn.Linear)]
        if hidden:
            return {**found, "neck": tuple(hidden), "head": (last,)}
    return {**found, "head": ("fc",)}


def _full_size(head: nn.Module, input_size: int, bottleneck: bool = False) -> ResMasking:
    if input_size % 32:
        raise CallerError(f"input_size {input_size}: ResMasking takes multiples of 32, because its "
                          "masking blocks halve and double the resolution")
    widths = [64, 128, 256, 512]
    if bottleneck:
        widths = [EXPANSION * width for width in widths]
    return ResMasking(head, widths, (3, 4, 6, 3), (4, 3, 2, 1), bottleneck=bottleneck)


@architecture("resmasking", stages)
def resmasking(num_classes: int, input_size: int = 224) -> nn.Module:
    """Return the network of the paper: ResNet-34 with masking blocks, about 138 M parameters."""
    return _full_size(nn.Linear(512, num_classes), input_size)


@architecture("resmasking_dropout1", stages)
def resmasking_dropout1(num_classes: int, input_size: int = 224) -> nn.Module:
    """Return the variant of the 2021 study, with dropout before the class layer."""
    return _full_size(nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(512, num_classes)), input_size)


@architecture("resmasking_dropout2", stages)
def resmasking_dropout2(num_classes: int, input_size: int = 224) -> nn.Module:
    """Return the variant with a hidden layer before the class layer."""
    head = nn.Sequential(nn.Linear(512, HIDDEN), nn.ReLU(), nn.Dropout(HIDDEN_DROPOUT),
                         nn.Linear(HIDDEN, num_classes))
    return _full_size(head, input_size)


@architecture("resmasking50_dropout1", stages)
def resmasking50_dropout1(num_classes: int, input_size: int = 224) -> nn.Module:
    """Return the variant on ResNet-50; its masking blocks are four times as wide."""
    head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2048, num_classes))
    return _full_size(head, input_size, bottleneck=True)


@architecture("resmasking_tiny", stages)
def resmasking_tiny(
    num_classes: int,
    input_size: int = 48,
    widths: Sequence[int] = (12, 24, 32),
    blocks: Sequence[int] = (1, 1, 1),
    mask_depths: Sequence[int] = (0, 1, 1),
    growth: int = 1,
) -> nn.Module:
    """Return a variant for laptops and tests, with fewer and narrower blocks."""
    if not len(widths) == len(blocks) == len(mask_depths):
        raise CallerError("resmasking_tiny: widths, blocks and mask_depths differ in length: "
                          f"{len(widths)}, {len(blocks)}, {len(mask_depths)}")
    for number, depth in enumerate(mask_depths, start=1):
        if input_size % 2 ** (number + depth):
            raise CallerError(f"input_size {input_size}: mask_depths[{number - 1}] = {depth} takes "
                              f"multiples of {2 ** (number + depth)}")
    return ResMasking(
        nn.Linear(widths[-1], num_classes), widths, blocks, mask_depths, growth, small=True
    )
