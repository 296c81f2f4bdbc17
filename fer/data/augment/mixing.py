"""Stateless Mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019).

The partner of a sample is a hash into the whole training set, not a permutation of its batch. So
the result depends on neither the batch nor the number of GPUs, at the cost of a second gather and
augmentation for mixed samples.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.config.augmentation import Mix
from fer.data.augment.random_numbers import Floats, Samples
from fer.data.stable_hash import splitmix_words

TRIES = 64  # draws for one share: at alpha 2 one sample in 100,000 needs more, and gets 0.5


@dataclass(frozen=True)
class Mixture:
    """The mixing parameters of N samples.

    Attributes:
        partner: int64 (N,), indices into the source; an unmixed sample is its own partner.
        share: float64 (N,), weight of the sample in image and label; 1 if not mixed.
        cut: int64 (N, 4), start and stop row, start and stop column of the region taken from the
            partner; empty if whole images are blended.
    """

    partner: NDArray[np.int64]
    share: Floats
    cut: NDArray[np.int64]

    def some(self, rows: NDArray[np.int64] | slice) -> "Mixture":
        """Return the parameters of some rows."""
        return Mixture(self.partner[rows], self.share[rows], self.cut[rows])


def mixture(mix: Mix, samples: Samples, indices: NDArray[np.int64], n: int, side: int) -> Mixture:
    """Return the mixing parameters of samples.

    Args:
        mix: the configuration.
        samples: the keys of the samples.
        indices: int64 (N,), their indices into the source.
        n: size of the source.
        side: of the images, in pixels.
    """
    chosen = samples.chance("mix", mix.probability)
    share = np.where(chosen, _beta(mix.alpha, samples), 1.0)
    cuts = chosen & samples.chance("cut", {"mixup": 0.0, "cutmix": 1.0, "either": 0.5}[mix.how])
    cut = _rectangles(samples, share, side) * cuts[:, None]
    inside = (cut[:, 1] - cut[:, 0]) * (cut[:, 3] - cut[:, 2])
    share = np.where(cuts, 1 - inside / side**2, share)  # after clipping at the border
    partner = np.where(chosen, samples.below("partner", n), indices)
    return Mixture(partner, share, cut)


def partners(samples: Samples, uids: NDArray[np.uint64]) -> Samples:
    """Return the partners, `uids` (N,), as samples with an independent augmentation."""
    return Samples(samples.seed, samples.epoch, splitmix_words(uids ^ splitmix_words(samples.uids)),
                   samples.passes)


def mixed(first: Tensor, second: Tensor, mixture: Mixture) -> Tensor:
    """Return mixed images: float32 (N, 3, S, S), in the memory format of `first`.

    Args:
        first: images of the samples, float32 in 0…1.
        second: images of their partners, likewise.
        mixture: of these N samples.
    """
    blends = mixture.cut[:, 1] == mixture.cut[:, 0]
    stays = torch.from_numpy(np.where(blends, mixture.share, 1.0)).to(first.device, torch.float32)
    out = second + (first - second) * stays[:, None, None, None]
    if blends.all():
        return out
    place = np.arange(first.shape[-1])
    top, bottom, left, right = mixture.cut.T[:, :, None]
    rows, columns = (place >= top) & (place < bottom), (place >= left) & (place < right)
    inside = torch.from_numpy(rows[:, :, None] & columns[:, None, :]).to(first.device)
    return torch.where(inside[:, None], second, out)


def as_unit(images: Tensor) -> Tensor:
    """Return images as float32 in 0…1; the same tensor if they are float already."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def label_shares(labels: NDArray[np.int64], others: NDArray[np.int64], first: Floats,
                 second: Floats, classes: int) -> NDArray[np.float32]:
    """Return the share of each class in each mixed sample: float32 (N, C).

    Args:
        labels, others: (N,), of the samples and of their partners.
        first, second: (N,), shares of the sample and of its partner.
        classes: C.
    """
    out = np.zeros((len(labels), classes), np.float32)
    rows = np.arange(len(labels))
    np.add.at(out, (rows, labels), first)
    np.add.at(out, (rows, others), second)
    return out


def _beta(alpha: float, samples: Samples) -> Floats:
    """Return samples of Beta(alpha, alpha) by Jöhnk's method: float64 (N,)."""
    share = np.full(len(samples), 0.5)
    open_ = np.arange(len(samples))
    for number in range(TRIES):
        if not open_.size:
            break
        some = samples.some(open_)
        x, y = (some.between(f"share {name}{number}", 0, 1) ** (1 / alpha) for name in "xy")
        done = (x + y <= 1) & (x + y > 0)
        share[open_[done]] = x[done] / (x[done] + y[done])
        open_ = open_[~done]
    return share


def _rectangles(samples: Samples, share: Floats, side: int) -> NDArray[np.int64]:
    """Return rectangles of area 1 - share at random centres, clipped to the image: int64 (N, 4)."""
    half = side * np.sqrt(1 - share) / 2
    ends = []
    for name in ("cut row", "cut column"):
        middle = samples.between(name, 0, side)
        ends += [np.rint((middle - half).clip(0, side)), np.rint((middle + half).clip(0, side))]
    return np.stack(ends, -1).astype(np.int64)
