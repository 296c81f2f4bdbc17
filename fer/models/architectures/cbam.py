"""A small residual network with channel and spatial attention, for laptops and tests.

Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018. The full-size
`cbam_resnet50` is pytorchcv's: see `fer.models.architectures.pytorchcv_networks`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer.errors import CallerError
from fer.models.classifier import StageMap
from fer.models.registry import architecture


class ChannelAttention(nn.Module):
    """Weights per channel from its mean and maximum over all positions."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return N x C x H x W, reweighted."""
        pooled = torch.stack([x.mean((2, 3)), x.amax((2, 3))])
        weights = self.excite(F.relu(self.squeeze(pooled))).sum(0)
        return x * torch.sigmoid(weights)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Weights per position from the maximum and mean over its channels."""

    def __init__(self, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> Tensor:
        """Return N x C x H x W, reweighted."""
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(pooled)))


class AttentionBlock(nn.Module):
    """A residual block of two 3x3 convolutions with both attentions before the addition."""

    def __init__(self, inputs: int, outputs: int, reduction: int, kernel: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.channel = ChannelAttention(outputs, reduction)
        self.spatial = SpatialAttention(kernel)
        self.downsample: nn.Module | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return N x outputs x H x W."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.spatial(self.channel(self.bn2(self.conv2(x))))
        return F.relu(x + shortcut, inplace=True)


class SmallCbam(nn.Module):
    """A stem of stride 2, stages of `AttentionBlock`s and max pooling, a linear head."""

    def __init__(
        self,
        num_classes: int,
        stem: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        reduction: int,
        kernel: int,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages = nn.Sequential()
        inputs = stem
        for number, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
            layer = nn.Sequential()
            for _ in range(count):
                layer.append(AttentionBlock(inputs, width, reduction, kernel))
                inputs = width
            layer.append(nn.MaxPool2d(2))  # strided convolutions lose details of 48-pixel faces
            self.stages.add_module(f"stage{number}", layer)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, N x classes, of images N x 3 x H x W."""
        x = self.stages(F.relu(self.bn1(self.conv1(x)), inplace=True))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def stages(net: nn.Module) -> StageMap:
    """Return the stages of a `SmallCbam`."""
    assert isinstance(net, SmallCbam)
    layers = {name: (f"stages.{name}",) for name, _ in net.stages.named_children()}
    return {"stem": ("conv1", "bn1"), **layers, "head": ("fc",)}


@architecture("cbam_tiny", stages)
def cbam_tiny(
    num_classes: int,
    stem: int = 8,
    widths: Sequence[int] = (16, 24, 32),
    blocks: Sequence[int] = (1, 1, 1),
    reduction: int = 4,
    kernel: int = 5,
) -> nn.Module:
    """Return a small variant of `cbam_resnet50` for images of 48 pixels."""
    if len(widths) != len(blocks):
        raise CallerError(f"cbam_tiny: {len(widths)} widths for {len(blocks)} blocks")
    return SmallCbam(num_classes, stem, widths, blocks, reduction, kernel)
