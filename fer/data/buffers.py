"""Memory for batches that is used again as soon as nobody holds the batch any more.

A fresh 30 MB allocation a batch costs more in page faults than filling it. Safe to hold on to a
batch: its memory is taken only when the last tensor upon it is gone.
"""

import sys
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KEPT = 4  # buffers; more in flight than that are ordinary allocations

Block = NDArray[np.uint8]


class Buffers:
    """A few blocks of CPU memory, handed out as tensors. For one thread."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised CPU tensor that shares memory with no living tensor."""
        size = prod(shape) * dtype.itemsize
        if size == 0:
            return torch.empty(shape, dtype=dtype)
        block = self._idle(size)
        if block is None:
            block = np.empty(size + size // 8, np.uint8)  # batches differ by a sample in size
            self._blocks = [*self._blocks[-(KEPT - 1):], block]
        return torch.from_numpy(block)[:size].view(dtype).view(shape)

    def _idle(self, size: int) -> Block | None:
        uses = _references(self._blocks)
        fits = (block for block, count in zip(self._blocks, uses, strict=True)
                if count == _IDLE and size <= block.nbytes <= 2 * size)
        return next(fits, None)


def _references(blocks: list[Block]) -> list[int]:
    return [sys.getrefcount(block) for block in blocks]


_IDLE = _references([np.empty(0, np.uint8)])[0]  # differs between Python versions
