"""3x3 convolutions of wide layers on a CPU with a quarter of the multiplications.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2015, arXiv:1509.09308): tiles of 6 x 6
pixels and the filters are mapped to 36 places in which the convolution is a product of matrices,
channels by filters, and the products are mapped back to 4 x 4 pixels. cuDNN does this by itself;
oneDNN, which torch has on a CPU, does not. Only for forward passes in float32: rounding is five
times that of the plain sum (about 5e-6 of the largest value), too much for exact resume and
for bfloat16.
"""

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDE = 256  # channels in and out from which the mapping costs less than it saves
LEAST = 7  # pixels of a side: of smaller maps too much of the tiles is padding
TILE, STEP = 6, 4
# for the points 0, 1, -1, 2, -2 and infinity
INPUT = ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0),
         (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1))
FILTER = ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6),
          (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1))
OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


class WinogradConv(nn.Module):
    """The same sums as a 3x3 `nn.Conv2d` with stride and padding 1; five times its memory.

    Args:
        plain: for which `is_wide` holds; it is asked itself where maps are small.
    """

    filters: Tensor
    into: Tensor
    back: Tensor

    def __init__(self, plain: nn.Conv2d):
        super().__init__()
        self.plain = plain
        taps = plain.weight.detach().permute(2, 3, 1, 0).reshape(9, -1)
        self.register_buffer("filters", (_both_ways(FILTER) @ taps).view(
            TILE * TILE, plain.in_channels, plain.out_channels))
        self.register_buffer("into", _both_ways(INPUT))
        self.register_buffer("back", _both_ways(OUTPUT))

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of N x C x H x W, channels last, float32."""
        pictures, channels, height, width = x.shape
        if min(height, width) < LEAST:
            found: Tensor = self.plain(x)
            return found
        down, right = -(-height // STEP), -(-width // STEP)
        padded = F.pad(x.permute(0, 2, 3, 1), (
            0, 0, 1, right * STEP + 1 - width, 1, down * STEP + 1 - height))
        image, row, column, channel = padded.stride()
        tiles = padded.as_strided(
            (TILE, TILE, pictures, down, right, channels),
            (row, column, image, STEP * row, STEP * column, channel))
        count, filters = pictures * down * right, self.plain.out_channels
        mapped = (self.into @ tiles.reshape(TILE * TILE, count * channels)).view(
            TILE * TILE, count, channels)
        products = torch.bmm(mapped, self.filters).view(TILE * TILE, count * filters)
        sums = (self.back @ products).view(STEP, STEP, pictures, down, right, filters)
        if self.plain.bias is not None:
            sums = sums + self.plain.bias
        whole = sums.permute(2, 3, 0, 4, 1, 5).reshape(
            pictures, down * STEP, right * STEP, filters)[:, :height, :width]
        return whole.contiguous().permute(0, 3, 1, 2)


def is_wide(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `conv` is a convolution that `WinogradConv` computes, faster on maps of some size."""
    return (type(conv) is nn.Conv2d and conv.kernel_size == (3, 3) and conv.stride == (1, 1)
            and conv.padding == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
            and conv.padding_mode == "zeros" and conv.weight.dtype == torch.float32
            and min(conv.in_channels, conv.out_channels) >= WIDE)


def use_winograd(model: nn.Module) -> None:
    """Replace the wide convolutions of a model, in place; once is enough."""
    for name, child in model.named_children():
        if is_wide(child):
            setattr(model, name, WinogradConv(child))
        elif not isinstance(child, WinogradConv):
            use_winograd(child)


def _both_ways(matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Return the matrix that does to rows and columns what `matrix` does to one of them."""
    one = torch.tensor(matrix, dtype=torch.float64)
    return torch.kron(one, one).float()
