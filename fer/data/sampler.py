"""Stateless sampler: the order of an epoch is a function of (seed, epoch).

Any part of any epoch can be computed alone, so resuming in the middle costs nothing, and a global
batch is defined before it is divided among ranks. Pixels are read in `fer.data.batches`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from fer.data.stable_hash import Words, key, splitmix_words

Items = NDArray[np.int64]

ROUNDS = 6  # double rounds; marginals are uniform after two, the others decorrelate pairs
_HALF = np.uint64(32)


@dataclass(frozen=True)
class EpochSampler:
    """A keyed permutation of `n * passes` items for every epoch.

    A generalised Feistel network on a grid of about sqrt(n) x sqrt(n) cells, with cycle walking
    for cells outside the range (Black & Rogaway, CT-RSA 2002).

    Attributes:
        n: samples, at least 1.
        passes: how often a sample occurs in one epoch, each time as a different item.
        seed: the run's seed.
    """

    n: int
    passes: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        assert self.n >= 1 and self.passes >= 1, (self.n, self.passes)

    @property
    def items(self) -> int:
        """Items in one epoch."""
        return self.n * self.passes

    def positions(self, epoch: int, start: int, stop: int) -> Items:
        """Return the items at positions `start` to `stop` of an epoch: int64, (stop - start,)."""
        assert 0 <= start <= stop <= self.items, (start, stop, self.items)
        keys = [np.uint64(key(self.seed, epoch, half)) for half in range(2 * ROUNDS)]
        cells = self._permute(np.arange(start, stop, dtype=np.uint64), keys)
        outside = np.flatnonzero(cells >= self.items)
        while outside.size:
            cells[outside] = self._permute(cells[outside], keys)
            outside = outside[cells[outside] >= self.items]
        return cells.astype(np.int64)

    def samples_and_passes(self, items: Items) -> tuple[Items, Items]:
        """Return for each item its sample (0…n-1) and its pass (0…passes-1)."""
        passes, samples = np.divmod(items, self.n)
        return samples, passes

    @cached_property
    def _sides(self) -> tuple[np.uint64, np.uint64]:
        rows = isqrt(self.items - 1) + 1
        return np.uint64(rows), np.uint64(-(-self.items // rows))

    def _permute(self, cells: Words, keys: list[np.uint64]) -> Words:
        rows, columns = self._sides
        left, right = np.divmod(cells, columns)
        for first, second in zip(keys[::2], keys[1::2], strict=True):
            left = _add(left, splitmix_words(np.bitwise_xor(right, first)), rows)
            right = _add(right, splitmix_words(np.bitwise_xor(left, second)), columns)
        return left * columns + right


def _add(cells: Words, hashes: Words, side: np.uint64) -> Words:
    """Return (cells + hash scaled to 0…side-1) modulo `side`, without a division."""
    total = cells + (((hashes >> _HALF) * side) >> _HALF)
    return np.where(total >= side, total - side, total)


def batch_count(items: int, batch_size: int) -> int:
    """Return the number of global batches in an epoch, none larger than `batch_size`."""
    return -(-items // batch_size)


def batch_bounds(items: int, batch_size: int, batch: int) -> tuple[int, int]:
    """Return (start, stop) of global batch number `batch`; sizes differ by at most one."""
    return share(0, items, batch, batch_count(items, batch_size))


def share(start: int, stop: int, rank: int, world: int) -> tuple[int, int]:
    """Return the (start, stop) of `rank` of `world`; some are empty if there are too few items."""
    assert 0 <= rank < world, (rank, world)
    size = stop - start
    return start + rank * size // world, start + (rank + 1) * size // world
