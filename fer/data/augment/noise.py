"""Gaussian noise without a generator's state: windows into one fixed table of normal numbers.

Drawing 150,528 normal numbers for each picture costs more than everything else in augmentation;
a window of a table costs an addition. Within a picture the numbers are independent; two pictures
whose windows overlap share numbers at different pixels, which training does not notice.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LENGTH = 1 << 22  # 16 MB of float32; more than the largest picture (1024 x 1024 x 3) needs
SEED = 2021


@lru_cache(maxsize=8)
def table(device: torch.device) -> Tensor:
    """Return the table on a device: float32 (LENGTH,), made once in a process, about 50 ms."""
    if device.type != "cpu":
        return table(torch.device("cpu")).to(device)
    generator = np.random.Generator(np.random.Philox(SEED))
    return torch.from_numpy(generator.standard_normal(LENGTH, dtype=np.float32))


def offsets(uniforms: NDArray[np.float64], length: int) -> NDArray[np.int64]:
    """Return where windows of `length` numbers begin, int64 (N,), for uniforms in [0, 1)."""
    assert length <= LENGTH, length
    return (uniforms * (LENGTH - length + 1)).astype(np.int64)


def windows(starts: Tensor, length: int) -> Tensor:
    """Return the windows at `starts` (int64 (N,), on any device): float32 (N, length)."""
    return table(starts.device).unfold(0, length, 1)[starts]
