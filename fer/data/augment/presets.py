"""Augmentation presets for whole batches: `none`, `light`, `seed2021`, `strong`, `trivial`.

A sample's augmentation depends only on (seed, epoch, uid, pass). Normalisation is part of the
model; mixing of two images is in `fer.data.augment.mixing`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.config.augmentation import PASSES
from fer.data.augment.geometric import Motion, move_all, move_each
from fer.data.augment.photometric import Photo, develop
from fer.data.augment.random_numbers import (
    Floats,
    Samples,
    noise_offsets,
    noise_table,
    noise_windows,
)
from fer.data.augment.trivial_augment import one_of_many

LIGHT_SHIFT = 0.08  # of the side
LIGHT_JITTER = 0.2  # brightness and contrast factors lie in 1 ± this
SEED2021_SHIFT = 0.1  # of the side
SEED2021_NOISE = 0.05  # standard deviation for pixels in 0…1
GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as torchvision's saturation


@dataclass(frozen=True)
class Change:
    """Augmentation parameters of N images: motion, then either light and noise or a photo.

    Attributes:
        motion: flips, rotations, shifts.
        light: float64 (N, 2) gain and bias for pixels in 0…1, then clamped to 0…1; or None.
        noise_at: int64 (N,) windows of `random_numbers.noise_table`, -1 for no noise; or None.
        photo: photometric parameters, instead of light and noise; or None.
    """

    motion: Motion
    light: Floats | None = None
    noise_at: NDArray[np.int64] | None = None
    photo: Photo | None = None


@dataclass(frozen=True)
class Preset:
    """A named augmentation.

    Attributes:
        name: as in `train.augment`.
        passes: how often each sample occurs in one epoch.
        change: maps samples and the image side in pixels to parameters, or None.
        pick: maps images, uint8 (N, S, S, 3), and samples to augmented images, or None; a preset
            with neither does nothing.
    """

    name: str
    passes: int
    change: Callable[[Samples, int], Change] | None = None
    pick: Callable[[Tensor, Samples], Tensor] | None = None

    def apply(self, images: Tensor, samples: Samples) -> Tensor:
        """Return the augmented batch, (N, 3, H, W) in channels_last memory.

        Args:
            images: uint8 (N, S, S, 3) on any device; not changed.
            samples: the keys of their augmentation.

        Returns:
            float32 in 0…1 if the preset has a `change`, else uint8.
        """
        if self.pick is not None:
            images = self.pick(images, samples)
        if self.change is None:
            return images.permute(0, 3, 1, 2)
        change = self.change(samples, images.shape[1])
        if images.device.type == "cpu":
            moved = one_by_one(images, change)
        else:
            moved = all_at_once(images, change)
        return moved.permute(0, 3, 1, 2)


def one_by_one(images: Tensor, change: Change) -> Tensor:
    """Return the augmented images, float32 (N, S, S, 3); the fast path on a CPU."""
    out = torch.empty(tuple(images.shape), dtype=torch.float32)
    light = None if change.light is None else change.light.tolist()
    starts = [-1] * len(images) if change.noise_at is None else change.noise_at.tolist()
    length = images.shape[1:].numel()
    for i, picture in enumerate(move_each(images, change.motion)):
        if change.photo is not None:
            one = slice(i, i + 1)
            develop(picture[None], change.photo.some(one), out[one])
            continue
        if light is None:
            torch.div(picture, 255, out=out[i])
        else:
            gain, bias = light[i]
            torch.add(torch.tensor(bias), picture, alpha=gain / 255, out=out[i]).clamp_(0, 1)
        if starts[i] >= 0:
            window = noise_table(images.device)[starts[i] : starts[i] + length]
            out[i].view(-1).add_(window, alpha=SEED2021_NOISE)
    return out


def all_at_once(images: Tensor, change: Change) -> Tensor:
    """Return the augmented images, float32 (N, S, S, 3); the fast path on a GPU."""
    device = images.device
    moved = move_all(images, change.motion)
    out = moved.to(torch.float32)
    if change.photo is not None:
        develop(moved, change.photo, out)
        return out
    if change.light is None:
        out.div_(255)
    else:
        light = torch.from_numpy(change.light).to(device, torch.float32)[:, :, None, None, None]
        out.mul_(light[:, 0] / 255).add_(light[:, 1]).clamp_(0, 1)
    if change.noise_at is not None:
        noisy = np.flatnonzero(change.noise_at >= 0)
        starts = torch.from_numpy(change.noise_at[noisy]).to(device)
        values = noise_windows(starts, images.shape[1:].numel()).view(-1, *images.shape[1:])
        out.index_add_(0, torch.from_numpy(noisy).to(device), values, alpha=SEED2021_NOISE)
    return out


def _shift(samples: Samples, stream: str, side: int, fraction: float) -> NDArray[np.int64]:
    """Return shifts up to `fraction` of the side, rounded to pixels as in RandomAffine."""
    most = fraction * side
    return np.rint(samples.between(stream, -most, most)).astype(np.int64)


def _light(samples: Samples, side: int) -> Change:
    """Return flips of half the images, shifts up to 8 %, brightness and contrast ±20 %."""
    still = np.zeros(len(samples))
    motion = Motion(samples.between("flip", 0, 1) < 0.5, still,
                    _shift(samples, "dx", side, LIGHT_SHIFT),
                    _shift(samples, "dy", side, LIGHT_SHIFT))
    brightness = samples.between("brightness", 1 - LIGHT_JITTER, 1 + LIGHT_JITTER)
    contrast = samples.between("contrast", 1 - LIGHT_JITTER, 1 + LIGHT_JITTER)
    gain = brightness * contrast
    return Change(motion, light=np.stack([gain, brightness * (1 - contrast) * 0.5], -1))


def _seed2021(samples: Samples, side: int) -> Change:
    """Return the four passes of the 2021 study (docs: `MaskedFER`).

    0: flip, rotation +1…+20°; 1: flip, rotation -20…-1°; 2: flip, shift up to 10 %, Gaussian noise;
    3: plain. The study does not mention clamping of noisy pixels to 0…1, so they are not clamped.
    """
    turn = samples.between("angle", 1, 20)
    degrees = np.select([samples.passes == 0, samples.passes == 1], [turn, -turn], 0.0)
    third = samples.passes == 2
    motion = Motion((samples.between("flip", 0, 1) < 0.5) & (samples.passes < 3), degrees,
                    _shift(samples, "dx", side, SEED2021_SHIFT) * third,
                    _shift(samples, "dy", side, SEED2021_SHIFT) * third)
    starts = noise_offsets(samples.between("noise", 0, 1), side * side * 3)
    return Change(motion, noise_at=np.where(third, starts, -1))


def _strong(samples: Samples, side: int) -> Change:
    """Return flips, shifts and colour changes of all images, and affine transforms of half.

    Only half, because test images have no black corners. Low light, blur, noise, JPEG artefacts and
    random erasing each apply to some of the images.
    """
    bent = samples.chance("bent", 0.5)
    motion = Motion(samples.chance("flip", 0.5), samples.between("angle", -15, 15) * bent,
                    _shift(samples, "dx", side, LIGHT_SHIFT),
                    _shift(samples, "dy", side, LIGHT_SHIFT),
                    np.exp(samples.between("scale", log(0.85), log(1.15)) * bent),
                    samples.between("shear", -8, 8) * bent)
    contrast = samples.between("contrast", 0.6, 1.4)
    brightness = samples.between("brightness", 0.6, 1.4)
    saturation = samples.between("saturation", 0.4, 1.6) * ~samples.chance("grey", 0.1)
    cast = np.stack([samples.between(f"cast {name}", 0.9, 1.1) for name in "rgb"], -1)
    colour = (saturation[:, None, None] * np.eye(3)
              + (1 - saturation)[:, None, None] * np.tile(GREY, (3, 1)))
    seen = noise_offsets(samples.between("noise at", 0, 1), side * side * 3)
    return Change(motion, photo=Photo(
        colour=(contrast * brightness)[:, None, None] * cast[:, :, None] * colour,
        bias=brightness * (1 - contrast) * 0.5,
        dark=np.where(samples.chance("dark", 0.15), samples.between("dark by", 0.25, 0.6), 1.0),
        blur=side * samples.between("blur by", 0.002, 0.008) * samples.chance("blur", 0.2),
        noise=samples.between("noise by", 0.01, 0.06) * samples.chance("noise", 0.3),
        noise_at=seen,
        quality=(20 + samples.below("quality", 61)) * samples.chance("jpeg", 0.2),
        hidden=_hidden(samples, side) * samples.chance("hidden", 0.25)[:, None],
        hidden_by=np.stack([samples.between(f"hidden {name}", 0, 1) for name in "rgb"], -1)))


def _hidden(samples: Samples, side: int) -> NDArray[np.int64]:
    """Return rectangles of 2…20 % of the image, 1:3…3:1, entirely inside it: int64 (N, 4)."""
    area = samples.between("hidden area", 0.02, 0.2)
    aspect = np.exp(samples.between("hidden aspect", log(1 / 3), log(3)))
    height, width = (np.minimum(np.rint(side * np.sqrt(area * ratio)), side)
                     for ratio in (aspect, 1 / aspect))
    top = np.floor(samples.between("hidden top", 0, 1) * (side - height + 1))
    left = np.floor(samples.between("hidden left", 0, 1) * (side - width + 1))
    return np.stack([top, top + height, left, left + width], -1).astype(np.int64)


PRESETS = {preset.name: preset for preset in (
    Preset("none", PASSES["none"]),
    Preset("light", PASSES["light"], change=_light),
    Preset("seed2021", PASSES["seed2021"], change=_seed2021),
    Preset("strong", PASSES["strong"], change=_strong),
    Preset("trivial", PASSES["trivial"], pick=one_of_many),
)}
