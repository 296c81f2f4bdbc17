"""Random numbers for augmentation, as functions of (seed, epoch, uid, pass, name) only.

They do not depend on the batch, the number of GPUs, or earlier draws. Gaussian noise is a window
into one fixed table: drawing 150,528 normal numbers per image costs more than all other
augmentation, a window costs an addition. Within an image the numbers are independent; two images
with overlapping windows share numbers at different pixels, which does not affect training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.data.stable_hash import key, splitmix_words, text_word

Floats = NDArray[np.float64]
TABLE_LENGTH = 1 << 22  # 16 MB of float32; more than the largest picture (1024 x 1024 x 3) needs
TABLE_SEED = 2021


def uniform(seed: int, epoch: int, uids: NDArray[np.uint64], passes: NDArray[np.int64],
            stream: str) -> Floats:
    """Return one number in [0, 1) for each sample: float64 (N,).

    Args:
        seed: the run's seed.
        epoch: from 0.
        uids: uint64 (N,), the samples' `Pack.uids`.
        passes: int64 (N,), the occurrence of the sample in this epoch.
        stream: name of the quantity; different names give independent numbers.
    """
    words = splitmix_words(uids ^ np.uint64(key(seed, epoch, _stream_word(stream))))
    words = splitmix_words(words ^ passes.astype(np.uint64))
    return (words >> np.uint64(11)) * 2.0**-53


@lru_cache(maxsize=128)
def _stream_word(stream: str) -> int:
    return text_word(stream)


@dataclass(frozen=True)
class Samples:
    """The keys of a batch's samples, which determine their augmentation."""

    seed: int
    epoch: int
    uids: NDArray[np.uint64]  # (N,)
    passes: NDArray[np.int64]  # (N,)

    def __len__(self) -> int:
        return len(self.uids)

    def between(self, stream: str, low: float, high: float) -> Floats:
        """Return a number from [low, high) for each sample, float64 (N,)."""
        return low + (high - low) * uniform(self.seed, self.epoch, self.uids, self.passes, stream)

    def below(self, stream: str, count: int) -> NDArray[np.int64]:
        """Return a whole number of 0…count-1 for each sample, int64 (N,)."""
        return self.between(stream, 0, count).astype(np.int64)

    def chance(self, stream: str, probability: float) -> NDArray[np.bool_]:
        """Return a Bernoulli draw for each sample, bool (N,)."""
        return self.between(stream, 0, 1) < probability

    def some(self, rows: Sequence[int] | NDArray | slice) -> "Samples":
        """Return the samples in some rows; their random numbers stay the same."""
        return Samples(self.seed, self.epoch, self.uids[rows], self.passes[rows])


@lru_cache(maxsize=8)
def noise_table(device: torch.device) -> Tensor:
    """Return normal numbers on a device: float32 (TABLE_LENGTH,), computed once, in about 50 ms."""
    if device.type != "cpu":
        return noise_table(torch.device("cpu")).to(device)
    generator = np.random.Generator(np.random.Philox(TABLE_SEED))
    return torch.from_numpy(generator.standard_normal(TABLE_LENGTH, dtype=np.float32))


def noise_offsets(uniforms: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """Return the starts of windows of `length` numbers, int64 (N,), for uniforms in [0, 1)."""
    assert length <= TABLE_LENGTH, length
    return (uniforms * (TABLE_LENGTH - length + 1)).astype(np.int64)


def noise_windows(starts: Tensor, length: int) -> Tensor:
    """Return the windows at `starts` (int64 (N,), on any device): float32 (N, length)."""
    return noise_table(starts.device).unfold(0, length, 1)[starts]
