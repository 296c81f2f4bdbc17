"""Augmentation of whole batches, each sample's change a pure function of what it is.

A sample's change depends on (seed, epoch, uid, pass) only: not on its batch, the number of GPUs,
or what was computed before. Not for normalisation, which belongs to the model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.config.schema import PASSES
from fer.data import noise
from fer.data.buffers import Buffers
from fer.data.geometry import Motion, move_all, move_each
from fer.data.hashing import key, splitmix_words, text_word

Floats = NDArray[np.float64]

LIGHT_SHIFT = 0.08  # of the side
LIGHT_JITTER = 0.2  # brightness and contrast factors lie in 1 ± this
SEED2021_SHIFT = 0.1  # of the side
SEED2021_NOISE = 0.05  # standard deviation where pixels are 0…1


def uniform(seed: int, epoch: int, uids: NDArray[np.uint64], passes: NDArray[np.int64],
            stream: str) -> Floats:
    """Return one number in [0, 1) for each sample: float64 (N,).

    Args:
        seed: the run's seed.
        epoch: from 0.
        uids: uint64 (N,), the samples' `Pack.uids`.
        passes: int64 (N,), which time in this epoch the sample comes.
        stream: what the number is for; different names give independent numbers.
    """
    words = splitmix_words(uids ^ np.uint64(key(seed, epoch, _stream_word(stream))))
    words = splitmix_words(words ^ passes.astype(np.uint64))
    return (words >> np.uint64(11)) * 2.0**-53


@lru_cache(maxsize=64)
def _stream_word(stream: str) -> int:
    return text_word(stream)


@dataclass(frozen=True)
class Samples:
    """Which samples a batch holds, and when: what their augmentation is a function of."""

    seed: int
    epoch: int
    uids: NDArray[np.uint64]  # (N,)
    passes: NDArray[np.int64]  # (N,)

    def between(self, stream: str, low: float, high: float) -> Floats:
        """Return a number from [low, high) for each sample, float64 (N,)."""
        return low + (high - low) * uniform(self.seed, self.epoch, self.uids, self.passes, stream)


@dataclass(frozen=True)
class Change:
    """What happens to each of N pictures, in this order: motion, light, noise.

    Attributes:
        motion: flips, rotations, shifts.
        light: float64 (N, 2) gain and bias for pixels in 0…1, then clamped to 0…1; or None.
        noise_at: int64 (N,) windows of `fer.data.noise`, -1 for no noise; or None.
    """

    motion: Motion
    light: Floats | None = None
    noise_at: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Preset:
    """A named augmentation.

    Attributes:
        name: as in `train.augment`.
        passes: how often each sample comes in one epoch.
        change: from samples and the pictures' side in pixels to their change; None = plain.
    """

    name: str
    passes: int
    change: Callable[[Samples, int], Change] | None = None

    def apply(self, images: Tensor, samples: Samples, buffers: Buffers | None = None) -> Tensor:
        """Return the augmented batch, (N, 3, H, W) in channels_last memory.

        Args:
            images: uint8 (N, S, S, 3) on any device; not changed.
            samples: what they are.
            buffers: memory to reuse on a CPU.

        Returns:
            uint8 for a plain preset, else float32 on the scale 0…1.
        """
        if self.change is None:
            return images.permute(0, 3, 1, 2)
        change = self.change(samples, images.shape[1])
        if images.device.type == "cpu":
            moved = one_by_one(images, change, buffers or Buffers())
        else:
            moved = all_at_once(images, change)
        return moved.permute(0, 3, 1, 2)


def one_by_one(images: Tensor, change: Change, buffers: Buffers) -> Tensor:
    """Return the changed pictures, float32 (N, S, S, 3); the fast way on a CPU."""
    out = buffers.take(tuple(images.shape), torch.float32)
    light = None if change.light is None else change.light.tolist()
    starts = [-1] * len(images) if change.noise_at is None else change.noise_at.tolist()
    length = images.shape[1:].numel()
    for i, picture in enumerate(move_each(images, change.motion)):
        if light is None:
            torch.div(picture, 255, out=out[i])
        else:
            gain, bias = light[i]
            torch.add(torch.tensor(bias), picture, alpha=gain / 255, out=out[i]).clamp_(0, 1)
        if starts[i] >= 0:
            window = noise.table(images.device)[starts[i] : starts[i] + length]
            out[i].view(-1).add_(window, alpha=SEED2021_NOISE)
    return out


def all_at_once(images: Tensor, change: Change) -> Tensor:
    """Return the changed pictures, float32 (N, S, S, 3); the fast way on a GPU."""
    device = images.device
    out = move_all(images, change.motion).to(torch.float32)
    if change.light is None:
        out.div_(255)
    else:
        light = torch.from_numpy(change.light).to(device, torch.float32)[:, :, None, None, None]
        out.mul_(light[:, 0] / 255).add_(light[:, 1]).clamp_(0, 1)
    if change.noise_at is not None:
        noisy = np.flatnonzero(change.noise_at >= 0)
        starts = torch.from_numpy(change.noise_at[noisy]).to(device)
        values = noise.windows(starts, images.shape[1:].numel()).view(-1, *images.shape[1:])
        out.index_add_(0, torch.from_numpy(noisy).to(device), values, alpha=SEED2021_NOISE)
    return out


def _shift(samples: Samples, stream: str, side: int, fraction: float) -> NDArray[np.int64]:
    """Return whole pixels up to `fraction` of the side, rounded as torchvision's RandomAffine."""
    most = fraction * side
    return np.rint(samples.between(stream, -most, most)).astype(np.int64)


def _light(samples: Samples, side: int) -> Change:
    """Flip half, shift up to 8 %, brightness and contrast ±20 % about mid-grey."""
    still = np.zeros(len(samples.uids))
    motion = Motion(samples.between("flip", 0, 1) < 0.5, still,
                    _shift(samples, "dx", side, LIGHT_SHIFT),
                    _shift(samples, "dy", side, LIGHT_SHIFT))
    brightness = samples.between("brightness", 1 - LIGHT_JITTER, 1 + LIGHT_JITTER)
    contrast = samples.between("contrast", 1 - LIGHT_JITTER, 1 + LIGHT_JITTER)
    gain = brightness * contrast
    return Change(motion, light=np.stack([gain, brightness * (1 - contrast) * 0.5], -1))


def _seed2021(samples: Samples, side: int) -> Change:
    """Repeat the four passes of the 2021 study (docs: `MaskedFER`).

    0: flip, rotation +1…+20°; 1: flip, rotation -20…-1°; 2: flip, shift up to 10 %, Gaussian noise;
    3: plain. The study does not say that noisy pixels were clamped to 0…1: they are not.
    """
    turn = samples.between("angle", 1, 20)
    degrees = np.select([samples.passes == 0, samples.passes == 1], [turn, -turn], 0.0)
    third = samples.passes == 2
    motion = Motion((samples.between("flip", 0, 1) < 0.5) & (samples.passes < 3), degrees,
                    _shift(samples, "dx", side, SEED2021_SHIFT) * third,
                    _shift(samples, "dy", side, SEED2021_SHIFT) * third)
    starts = noise.offsets(samples.between("noise", 0, 1), side * side * 3)
    return Change(motion, noise_at=np.where(third, starts, -1))


PRESETS = {preset.name: preset for preset in (
    Preset("none", PASSES["none"]),
    Preset("light", PASSES["light"], change=_light),
    Preset("seed2021", PASSES["seed2021"], change=_seed2021),
)}
