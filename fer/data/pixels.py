"""Access by index to the pictures of one or more packs, on the training device.

Order and augmentation are in `fer.data.batches`.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.data.pack import Pack

if TYPE_CHECKING:
    import pyarrow

Indices = NDArray[np.int64]

RESIDENT_FRACTION = 0.3  # of the free GPU memory; the rest is for the model


class Source:
    """Concatenated packs, as for joint training on `lfw+mlfw`; created in constant time.

    Attributes:
        packs: in order; all of one size and with the same classes.
        device: of gathered pictures.
        n: total number of pictures.
        size: their height and width in pixels.
        class_counts: pictures of each class.
        drawn: what is drawn on the pictures; empty for those of the packs.
        masked: number of pictures with a drawn mask.
    """

    drawn = ""
    masked = 0

    def __init__(self, packs: Sequence[Pack], device: torch.device | str = "cpu",
                 resident_fraction: float = RESIDENT_FRACTION) -> None:
        """Args:
        packs: at least one.
        device: a CPU or a GPU.
        resident_fraction: if the pictures fit into this fraction of the GPU's free memory, each
            is copied there once, when it is first needed.
        """
        first = packs[0]
        assert all(p.size == first.size and p.classes == first.classes for p in packs), packs
        self.packs = tuple(packs)
        self.device = torch.device(device)
        self.size = first.size
        self.n = sum(pack.n for pack in packs)
        counts = np.sum([pack.class_counts for pack in packs], axis=0)
        self.class_counts: tuple[int, ...] = tuple(int(count) for count in counts)
        self._starts = np.cumsum([0, *(pack.n for pack in packs[:-1])])
        self._resident = self._make_resident(resident_fraction)

    def gather(self, indices: Indices) -> Tensor:
        """Return pictures, uint8 (N, size, size, 3) on the device, for int64 (N,) in 0…n-1."""
        assert not len(indices) or (indices.min() >= 0 and indices.max() < self.n), indices
        if self._resident is not None:
            return self._resident.gather(indices, self)
        return self.gather_from_disk(indices)

    def gather_from_disk(self, indices: Indices) -> Tensor:
        """Return pictures like `gather`, from the memory maps."""
        shape = (len(indices), self.size, self.size, 3)
        if self.device.type == "cpu":
            return self._fill(indices, torch.empty(shape, dtype=torch.uint8))
        # safe: torch reuses pinned memory only after the copy has finished
        pinned = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        return self._fill(indices, pinned).to(self.device, non_blocking=True)

    def labels_of(self, indices: Indices) -> NDArray[np.int64]:
        """Return the labels of pictures: int64 (N,)."""
        return self._field([pack.labels for pack in self.packs], indices).astype(np.int64)

    def uids_of(self, indices: Indices) -> NDArray[np.uint64]:
        """Return the seeds of per-sample randomness: uint64 (N,)."""
        return self._field([pack.uids for pack in self.packs], indices)

    def index(self) -> "pyarrow.Table":
        """Read the packs' tables sample_id, label, file, identity, pair_key; row i is picture i."""
        return self._table

    @cached_property
    def _table(self) -> "pyarrow.Table":
        import pyarrow  # slow to import, not needed for training

        return pyarrow.concat_tables([pack.index() for pack in self.packs])

    def _fill(self, indices: Indices, out: Tensor) -> Tensor:
        rows = out.numpy()
        if len(self.packs) == 1:  # "clip" because "raise" would gather into a copy first
            np.take(self.packs[0].pixels, indices, axis=0, out=rows, mode="clip")
            return out
        places = self._pack_of(indices)
        for row, (index, place) in enumerate(zip(indices, places, strict=True)):
            rows[row] = self.packs[place].pixels[index - self._starts[place]]
        return out

    def _field(self, columns: list[NDArray], indices: Indices) -> NDArray:
        if len(columns) == 1:
            return columns[0][indices]
        places = self._pack_of(indices)
        values = np.empty(len(indices), columns[0].dtype)
        for place, column in enumerate(columns):
            here = places == place
            values[here] = column[indices[here] - self._starts[place]]
        return values

    def _pack_of(self, indices: Indices) -> NDArray[np.intp]:
        return np.searchsorted(self._starts, indices, side="right") - 1

    def _make_resident(self, fraction: float) -> "_Resident | None":
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        fits = self.n * self.size**2 * 3 <= fraction * free
        return _Resident(self.n, self.size, self.device) if fits else None


class _Resident:
    """Pictures on a GPU, each copied there at first use, so training starts immediately."""

    def __init__(self, n: int, size: int, device: torch.device) -> None:
        self._pixels = torch.empty((n, size, size, 3), dtype=torch.uint8, device=device)
        self._here = np.zeros(n, bool)

    def gather(self, indices: Indices, source: Source) -> Tensor:
        """Return pictures, uint8, N x S x S x 3; those not yet on the GPU are copied first."""
        absent = np.unique(indices[~self._here[indices]])
        if absent.size:
            rows = torch.from_numpy(absent).to(self._pixels.device)
            self._pixels.index_copy_(0, rows, source.gather_from_disk(absent))
            self._here[absent] = True
        return self._pixels.index_select(0, torch.from_numpy(indices).to(self._pixels.device))
