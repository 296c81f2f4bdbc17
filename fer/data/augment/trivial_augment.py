"""TrivialAugment on batches: one random operation per image (Müller & Hutter, ICCV 2021).

The operations and magnitudes of torchvision's `TrivialAugmentWide` with its defaults: bitwise equal
to torchvision on tensors, and to Pillow for geometric operations. Images with the same operation
are processed together, each at its own magnitude. Shifts of up to 32 pixels are meant for images of
about 224.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fer.data.augment.geometric import warp, warp_all
from fer.data.augment.photometric import each
from fer.data.augment.random_numbers import Floats, Samples

BINS = 31
MAGNITUDES: dict[str, NDArray] = {
    "Identity": np.zeros(BINS),
    **{name: np.linspace(0, 0.99, BINS, dtype=np.float32) for name in ("ShearX", "ShearY")},
    **{name: np.linspace(0, 32, BINS, dtype=np.float32) for name in ("TranslateX", "TranslateY")},
    "Rotate": np.linspace(0, 135, BINS, dtype=np.float32),
    **{name: np.linspace(0, 0.99, BINS, dtype=np.float32)
       for name in ("Brightness", "Color", "Contrast", "Sharpness")},
    "Posterize": 8 - np.rint(np.arange(BINS) / 5),
    "Solarize": np.linspace(255, 0, BINS, dtype=np.float32),
    "AutoContrast": np.zeros(BINS),
    "Equalize": np.zeros(BINS),
}
OPERATIONS = tuple(MAGNITUDES)
MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")


def one_of_many(images: Tensor, samples: Samples) -> Tensor:
    """Return images after one random operation each.

    Args:
        images: uint8 (N, S, S, 3) on any device; not changed.
        samples: the keys of their augmentation.
    """
    drawn, bins = samples.below("trivial", len(OPERATIONS)), samples.below("trivial bin", BINS)
    negative = samples.chance("trivial sign", 0.5)
    out = images.clone()
    for number in np.unique(drawn).tolist():
        operation, rows = OPERATIONS[number], np.flatnonzero(drawn == number)
        amounts = MAGNITUDES[operation][bins[rows]].astype(np.float64)
        if operation in (*MOVES, *BLENDS):
            amounts = np.where(negative[rows], -amounts, amounts)
        places = torch.from_numpy(rows).to(images.device)
        out.index_copy_(0, places, operate(operation, images.index_select(0, places), amounts))
    return out


def operate(operation: str, images: Tensor, amounts: Floats) -> Tensor:
    """Return images after one operation.

    Args:
        operation: one of `OPERATIONS`.
        images: uint8 (n, S, S, 3).
        amounts: (n,), in the units of `MAGNITUDES`.
    """
    if operation == "Identity":
        return images
    if operation in MOVES:
        places = matrices(operation, amounts, images.shape[1])
        if images.device.type != "cpu":
            return warp_all(images, places)
        return torch.from_numpy(np.stack([warp(image, place) for image, place in
                                          zip(images.numpy(), places, strict=True)]))
    planes = images.permute(0, 3, 1, 2)
    if operation in BLENDS:
        first, second = each(1 + amounts, planes), each(-amounts, planes)
        mixed = first * planes + second * _other(operation, planes)
        done = mixed.clamp_(0, 255).to(torch.uint8)
    elif operation == "Posterize":
        done = planes & each(256 - 2 ** (8 - amounts), planes).to(torch.uint8)
    elif operation == "Solarize":
        done = torch.where(planes >= each(amounts, planes), 255 - planes, planes)
    else:
        done = {"AutoContrast": _stretched, "Equalize": _equalised}[operation](planes)
    return done.permute(0, 2, 3, 1)


def matrices(operation: str, amounts: Floats, side: int) -> Floats:
    """Return (n, 2, 3) matrices from output to input coordinates (Pillow's AFFINE).

    Shears are about the upper left corner, rotations counter-clockwise about the centre; shifts
    are truncated to whole pixels.
    """
    out = np.tile(np.eye(2, 3), (len(amounts), 1, 1))
    if operation == "Rotate":
        angle = -np.radians(amounts)
        cos, sin = np.cos(angle), np.sin(angle)
        out[:, 0, :2], out[:, 1, :2] = np.stack([cos, sin], -1), np.stack([-sin, cos], -1)
        out[:, :, 2] = side / 2 - out[:, :, :2].sum(-1) * side / 2
    elif operation.startswith("Shear"):
        row = "XY".index(operation[-1])
        out[:, row, 1 - row] = amounts
    else:
        out[:, "XY".index(operation[-1]), 2] = -np.trunc(amounts)
    return out


def _other(operation: str, planes: Tensor) -> Tensor:
    """Return the image to blend with: (n, 3 or 1, S or 1, S or 1)."""
    if operation == "Brightness":
        return torch.zeros_like(planes[:, :1])
    if operation == "Sharpness":
        return _smoothed(planes)
    grey = _grey(planes)
    return grey if operation == "Color" else grey.float().mean((1, 2, 3), keepdim=True)


def _grey(planes: Tensor) -> Tensor:
    red, green, blue = planes.split(1, dim=1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(torch.uint8)


def _smoothed(planes: Tensor) -> Tensor:
    """Return images after a 3 x 3 smoothing filter; a border of one pixel is unchanged."""
    kernel = torch.ones(3, 1, 3, 3, device=planes.device)
    kernel[:, :, 1, 1] = 5
    out = planes.clone()
    out[:, :, 1:-1, 1:-1] = F.conv2d(planes.float(), kernel / 13, groups=3).round_()
    return out


def _stretched(planes: Tensor) -> Tensor:
    """Return each channel stretched to 0…255; a constant channel is unchanged."""
    low, high = (end(planes, dim=(2, 3), keepdim=True).float() for end in (torch.amin, torch.amax))
    flat = low == high
    scale = torch.where(flat, 1.0, 255 / (high - low))
    return ((planes - low.masked_fill(flat, 0)) * scale).clamp_(0, 255).to(torch.uint8)


def _equalised(planes: Tensor) -> Tensor:
    """Return each channel with an equalised histogram, as in Pillow."""
    rows = planes.reshape(-1, planes.shape[2] * planes.shape[3]).long()
    number = torch.arange(len(rows), device=planes.device)[:, None]
    counts = torch.bincount((rows + 256 * number).flatten(), minlength=256 * len(rows))
    counts = counts.view(-1, 256)
    last = counts.gather(1, rows.amax(1, keepdim=True))  # the brightest value is not counted
    step = (counts.sum(1, keepdim=True) - last) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)
    table = torch.where(step == 0, torch.arange(256, device=planes.device), table.clamp(max=255))
    return table.gather(1, rows).to(torch.uint8).view(planes.shape)
