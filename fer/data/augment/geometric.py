"""Flip, rotate, shear, scale and shift images: one by one on a CPU, as a batch on a GPU.

Nearest-neighbour interpolation, the default of torchvision. Both implementations agree exactly for
flips and shifts, and up to rounding at single pixels otherwise. The parameters are sampled in
`fer.data.augment.presets`.

Coordinates are those of Pillow and torchvision: x to the right, y down, pixel (0, 0) covers
[0, 1) x [0, 1), rotations counter-clockwise about the centre; pixels from outside are 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fer.data.augment.random_numbers import Floats


@dataclass(frozen=True)
class Motion:
    """Geometric transforms of N images: flip, then shear, scale and rotate, then shift.

    Attributes:
        flip: bool (N,), horizontal flip.
        degrees: float64 (N,), counter-clockwise.
        dx: int64 (N,), pixels to the right.
        dy: int64 (N,), pixels down.
        scale: float64 (N,), above 1 enlarges; None for no scaling.
        shear: float64 (N,), degrees from the vertical; None for no shear.
    """

    flip: NDArray[np.bool_]
    degrees: Floats
    dx: NDArray[np.int64]
    dy: NDArray[np.int64]
    scale: Floats | None = None
    shear: Floats | None = None

    @property
    def bent(self) -> NDArray[np.bool_]:
        """Mask of images that are rotated, scaled or sheared, bool (N,)."""
        bent = self.degrees != 0
        if self.scale is not None:
            bent = bent | (self.scale != 1)
        return bent if self.shear is None else bent | (self.shear != 0)

    def matrices(self, height: int, width: int) -> Floats:
        """Return (N, 2, 3) matrices from output to input coordinates."""
        angle = -np.radians(self.degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
        if self.shear is not None:
            lean = np.tile(np.eye(2), (len(turn), 1, 1))
            lean[:, 0, 1] = np.tan(np.radians(self.shear))
            turn = lean @ turn
        if self.scale is not None:
            turn = turn / self.scale[:, None, None]
        middle = np.array([width / 2, height / 2])
        shift = np.stack([self.dx, self.dy], -1)
        offset = middle - np.einsum("nij,nj->ni", turn, middle + shift)
        matrices = np.concatenate([turn, offset[:, :, None]], -1)
        matrices[self.flip, 0] *= -1
        matrices[self.flip, 0, 2] += width
        return matrices


def move_each(images: Tensor, motion: Motion) -> Iterator[Tensor]:
    """Yield each transformed image, uint8 (H, W, 3), valid until the next one is requested.

    Args:
        images: uint8 (N, H, W, 3) in CPU memory; not changed.
        motion: of these N images.
    """
    height, width = images.shape[1:3]
    matrices = motion.matrices(height, width)
    staged = torch.empty(images.shape[1:], dtype=torch.uint8)  # one image fits the CPU cache
    for i, bent in enumerate(motion.bent.tolist()):
        if bent:
            np.copyto(staged.numpy(), warp(images[i].numpy(), matrices[i]))
            yield staged
            continue
        image = images[i].flip(1) if motion.flip[i] else images[i]
        dx, dy = int(motion.dx[i]), int(motion.dy[i])
        if dx or dy:
            _shift_into(staged, image, dx, dy)
            image = staged
        yield image


def move_all(images: Tensor, motion: Motion) -> Tensor:
    """Return the transformed images, uint8 (N, H, W, 3), by one gather on the images' device."""
    return warp_all(images, motion.matrices(*images.shape[1:3]))


def warp_all(images: Tensor, places: Floats) -> Tensor:
    """Return images warped by matrices (N, 2, 3) from output to input coordinates.

    Args:
        images: uint8 (N, H, W, 3) on any device.
        places: as returned by `Motion.matrices`.
    """
    n, height, width, _ = images.shape
    matrices = torch.from_numpy(places).to(images.device, torch.float32)
    x = torch.arange(width, device=images.device, dtype=torch.float32) + 0.5
    y = torch.arange(height, device=images.device, dtype=torch.float32) + 0.5
    (ax, bx, cx), (ay, by, cy) = (row.unbind(-1) for row in matrices[:, :, None, None].unbind(1))
    column = (ax * x + (bx * y[:, None] + cx)).floor_().long()  # (N, H, W)
    row = (ay * x + (by * y[:, None] + cy)).floor_().long()
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    number = torch.arange(n, device=images.device)[:, None, None]
    moved = images[number, row.clamp_(0, height - 1), column.clamp_(0, width - 1)]
    return moved.mul_(inside[..., None])


def warp(image: NDArray[np.uint8], matrix: Floats) -> NDArray[np.uint8]:
    """Return one image, uint8 (H, W, 3), warped by a matrix (2, 3); the fast path on a CPU."""
    size = image.shape[1], image.shape[0]
    turned = Image.fromarray(image).transform(
        size, Image.Transform.AFFINE, matrix.ravel().tolist(), Image.Resampling.NEAREST)
    return np.asarray(turned)


def _shift_into(out: Tensor, image: Tensor, dx: int, dy: int) -> None:
    """Write `image` shifted by (dx, dy) to `out`, both (H, W, 3), filled with 0."""
    to_x, from_x = _overlap(dx, image.shape[1])
    to_y, from_y = _overlap(dy, image.shape[0])
    out.zero_()
    out[to_y, to_x].copy_(image[from_y, from_x])


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Return the (target, source) slices along one axis."""
    right, left = min(max(shift, 0), length), min(max(-shift, 0), length)
    return slice(right, length - left), slice(left, length - right)
