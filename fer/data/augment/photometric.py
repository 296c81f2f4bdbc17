"""Photometric augmentation of the `strong` preset.

Colour, low light, blur, noise, JPEG artefacts and random erasing, in that order. Each step is a
function on a floating-point batch on any device; on a CPU the batch is one image, which fits the
cache. The parameters are sampled in `fer.data.augment.presets`.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.data.augment.jpeg import compress_all, compress_each
from fer.data.augment.random_numbers import Floats, noise_table

REACH = 2.2  # radius of the blur kernel in standard deviations, rounded up to pixels


@dataclass(frozen=True)
class Photo:
    """Photometric parameters of N images with values in 0…1.

    Attributes:
        colour: (N, 3, 3), matrices on (red, green, blue), one row per output channel.
        bias: (N,), added to all channels; then the values are clamped to 0…1.
        dark: (N,) in (0, 1], the slope of the tone curve at black; 1 for no change.
        blur: (N,), standard deviation in pixels; 0 for none.
        noise: (N,), standard deviation; 0 for none.
        noise_at: int64 (N,), windows of `random_numbers.noise_table`.
        quality: int64 (N,), of JPEG, 1…100; 0 for none.
        hidden: int64 (N, 4), start and stop row, start and stop column of the erased rectangle.
        hidden_by: (N, 3), its colour.
    """

    colour: Floats
    bias: Floats
    dark: Floats
    blur: Floats
    noise: Floats
    noise_at: NDArray[np.int64]
    quality: NDArray[np.int64]
    hidden: NDArray[np.int64]
    hidden_by: Floats

    def some(self, rows: NDArray[np.int64] | slice) -> "Photo":
        """Return the parameters of some rows."""
        return Photo(**{field.name: getattr(self, field.name)[rows] for field in fields(Photo)})


def develop(images: Tensor, photo: Photo, out: Tensor) -> None:
    """Write the augmented images to `out`, float32 (N, S, S, 3) in 0…1.

    Args:
        images: uint8 (N, S, S, 3) on any device; not changed.
        photo: of these N images.
        out: on the same device.
    """
    _colour(images, photo, out)
    steps: tuple[tuple[NDArray[np.bool_], Callable[[Tensor, Photo], None]], ...] = (
        (photo.dark < 1, _darken), (photo.blur > 0, _blur), (photo.noise > 0, _add_noise),
        (photo.quality > 0, _compress), (photo.hidden[:, 1] > photo.hidden[:, 0], _hide))
    for chosen, step in steps:
        if not chosen.any():
            continue
        if chosen.all():
            step(out, photo)
        else:
            rows = np.flatnonzero(chosen)
            places = torch.from_numpy(rows).to(out.device)
            part = out.index_select(0, places)
            step(part, photo.some(rows))
            out.index_copy_(0, places, part)


def _colour(images: Tensor, photo: Photo, out: Tensor) -> None:
    mixes = (photo.colour.transpose(0, 2, 1) / 255).astype(np.float32)
    if out.device.type == "cpu":  # numpy is five times faster than torch with three columns
        for image, mix, bias, place in zip(images, mixes, photo.bias.tolist(), out, strict=True):
            np.dot(image.float().numpy().reshape(-1, 3), np.ascontiguousarray(mix),
                   out=place.numpy().reshape(-1, 3))
            place.add_(bias).clamp_(0, 1)
        return
    values = images.float().flatten(1, 2)
    mixed = values @ torch.from_numpy(mixes).to(out.device) + each(photo.bias, out)[..., 0]
    out.copy_(mixed.clamp_(0, 1).view_as(out))


def each(values: Floats, images: Tensor) -> Tensor:
    """Return one number per image, float32 (N, 1, 1, 1), on the images' device."""
    return torch.from_numpy(values).to(images.device, torch.float32)[:, None, None, None]


def _darken(images: Tensor, photo: Photo) -> None:
    """Map x to x (a + (1 - a) x): darkens shadows most and keeps white."""
    slope = each(photo.dark, images)
    images.mul_((images * (1 - slope)).add_(slope))


def _blur(images: Tensor, photo: Photo) -> None:
    """Blur each image with its own Gaussian, by shifted sums; borders are reflected."""
    size = images.shape[1]
    reaches = np.minimum(np.ceil(REACH * photo.blur), size - 1).astype(np.int64)
    reach = int(reaches.max())
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / photo.blur[:, None]) ** 2)
    weights *= np.abs(steps) <= reaches[:, None]
    weights /= weights.sum(1, keepdims=True)
    for axis in (1, 2):
        before, behind = (images.narrow(axis, first, reach).flip(axis)
                          for first in (1, size - 1 - reach))
        wide = torch.cat([before, images, behind], axis)
        images.zero_()
        for number in range(len(steps)):
            place = wide.narrow(axis, number, size)
            if len(images) == 1:
                images.add_(place, alpha=float(weights[0, number]))
            else:
                images.addcmul_(place, each(weights[:, number], images))


def _add_noise(images: Tensor, photo: Photo) -> None:
    length = images[0].numel()
    for image, start, deviation in zip(images, photo.noise_at.tolist(), photo.noise.tolist(),
                                       strict=True):
        window = noise_table(images.device)[start : start + length]
        image.view(-1).add_(window, alpha=deviation).clamp_(0, 1)


def _compress(images: Tensor, photo: Photo) -> None:
    if images.device.type == "cpu":
        compress_each(images, photo.quality)
    else:
        images.copy_(compress_all(images, photo.quality))


def _hide(images: Tensor, photo: Photo) -> None:
    colours = torch.from_numpy(photo.hidden_by).to(images.device, torch.float32)
    for image, place, colour in zip(images, photo.hidden.tolist(), colours, strict=True):
        top, bottom, left, right = place
        image[top:bottom, left:right] = colour
