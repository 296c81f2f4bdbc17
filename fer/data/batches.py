"""Batches for training and for evaluation; any batch of any epoch is made alone, in any order.

The global batch is defined first and then divided among ranks, so samples and augmentations do
not depend on how many GPUs there are. Nothing here remembers where training stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.config.run import Mix
from fer.data.augment.mixing import Mixture, as_unit, label_shares, mixed, mixture, partners
from fer.data.augment.presets import PRESETS, Preset
from fer.data.augment.random_numbers import Samples
from fer.data.pixels import Indices, Source
from fer.data.sampler import EpochSampler, Items, batch_bounds, batch_count, share

if TYPE_CHECKING:
    from fer.data.masks.atlas import MaskAugmentation

BLOCK = 1024  # items ordered at a time: one batch alone would cost a quarter of that


@dataclass(frozen=True)
class Batch:
    """What one rank works on in one step.

    Attributes:
        images: (N, 3, size, size) on the device, channels_last; uint8 0…255 or float32 0…1.
        labels: int64 (N,) on the device; float32 (N, C), how much there is of each class, where
            pictures are mixed or have weights.
        indices: int64 (N,), the samples' numbers in the source.
        start: place of the first of them in the global batch.
        global_labels: of the whole global batch, int64 (G,) or float32 (G, C) as `labels`, so that
            the sum of the loss's weights is known to every rank.
        second: another view of the same pictures, as `images`, where there is one.
    """

    images: Tensor
    labels: Tensor
    indices: Indices
    start: int
    global_labels: NDArray[np.int64] | NDArray[np.float32]
    second: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, size: int) -> list["Batch"]:
        """Return the batch in parts of at most `size` samples, at least one part."""
        if size >= len(self):
            return [self]
        return [self._part(slice(first, first + size)) for first in range(0, len(self), size)]

    def _part(self, rows: slice) -> "Batch":
        return replace(self, images=self.images[rows], labels=self.labels[rows],
                       indices=self.indices[rows], start=self.start + rows.start,
                       second=None if self.second is None else self.second[rows])


class TrainBatches:
    """The shuffled, augmented batches of every epoch."""

    def __init__(self, source: Source, seed: int, augment: str | Preset, batch_size: int,
                 rank: int = 0, world: int = 1, masks: "MaskAugmentation | None" = None,
                 mix: Mix | None = None, weights: NDArray[np.float32] | None = None) -> None:
        """Args:
        source: the training pictures; batches are made on its device.
        seed: the run's seed, for order and augmentation.
        augment: a preset or its name.
        batch_size: most samples in a global batch; all are within one of each other.
        rank: which share of each global batch this process takes; 0…world-1.
        world: number of processes. With more of them than samples some shares are empty.
        masks: laid over some of the pictures before they are augmented.
        mix: whether augmented pictures and their labels are mixed in pairs.
        weights: what each picture counts beside the others, float32 (n,); None: all alike.
        """
        self.source, self.seed, self.masks, self.mix = source, seed, masks, mix
        self.weights = weights
        self.preset = PRESETS[augment] if isinstance(augment, str) else augment
        self.batch_size, self.rank, self.world = batch_size, rank, world
        self.order = EpochSampler(source.n, self.preset.passes, seed)
        self.steps_per_epoch = batch_count(self.order.items, batch_size)

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this rank's share of global batch `step` (0…steps_per_epoch-1) of an epoch."""
        indices, samples = self.whole(epoch, step)
        first, last = self.share(len(indices))
        mine, some = indices[first:last], samples.some(slice(first, last))
        images = self.pictures(mine, some)
        if self.mix is None:
            return self.labelled(images, indices, first)
        pairs = mixture(self.mix, samples, indices, self.source.n, self.source.size)
        labels = self._shares(indices, pairs.share, pairs.partner)
        images = self._mixed(images, some, pairs.some(slice(first, last)))
        return Batch(images, _to(labels[first:last], self.source.device), mine, first, labels)

    def labelled(self, images: Tensor, indices: Indices, first: int) -> Batch:
        """Return a batch of unmixed pictures, or of what takes their place.

        Args:
            images: this rank's share, row by row, from number `first` of the global batch on.
            indices: int64 (G,), the whole global batch.
        """
        labels = self.labels_of(indices)
        mine = slice(first, first + len(images))
        return Batch(images, _to(labels[mine], self.source.device), indices[mine], first, labels)

    def labels_of(self, indices: Indices) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return labels of unmixed pictures, as `Batch.global_labels`."""
        if self.weights is None:
            return self.source.labels_of(indices)
        return self._shares(indices, np.ones(len(indices)), indices)

    def _shares(self, indices: Indices, share: NDArray[np.float64], partner: Indices
                ) -> NDArray[np.float32]:
        """Return how much of each class there is in each sample: float32 (N, C)."""
        mine, others = share, 1 - share
        if self.weights is not None:
            mine, others = mine * self.weights[indices], others * self.weights[partner]
        return label_shares(self.source.labels_of(indices), self.source.labels_of(partner),
                            mine, others, len(self.source.class_counts))

    def samples(self, epoch: int, step: int) -> Samples:
        """Return what the pictures of `batch` are, for whatever else is a function of that."""
        _, samples = self.whole(epoch, step)
        return samples.some(slice(*self.share(len(samples))))

    def whole(self, epoch: int, step: int) -> tuple[Indices, Samples]:
        """Return the whole global batch: numbers in the source, and what they are."""
        start, stop = batch_bounds(self.order.items, self.batch_size, step)
        indices, passes = self.order.samples_and_passes(_items(self.order, epoch, start, stop))
        return indices, Samples(self.seed, epoch, self.source.uids_of(indices), passes)

    def share(self, size: int) -> tuple[int, int]:
        """Return which rows of a global batch of this size are this rank's: (start, stop)."""
        return share(0, size, self.rank, self.world)

    def pictures(self, indices: Indices, samples: Samples) -> Tensor:
        """Return augmented pictures, (N, 3, size, size), by their numbers in the source.

        Args:
            indices: int64 (N,).
            samples: what their masks and their augmentation are a function of.
        """
        images = self.source.gather(indices)
        if self.masks is not None:
            images = self.masks.apply(images, samples)
        return self.preset.apply(images, samples)

    def _mixed(self, images: Tensor, samples: Samples, pairs: Mixture) -> Tensor:
        """Return the pictures of a share mixed with their partners; only those are made."""
        rows = np.flatnonzero(pairs.share < 1)
        images = as_unit(images)
        if not rows.size:
            return images
        pairs = pairs.some(rows)
        uids = self.source.uids_of(pairs.partner)
        others = self.pictures(pairs.partner, partners(samples.some(rows), uids))
        places = torch.from_numpy(rows).to(images.device)
        done = mixed(images.index_select(0, places), as_unit(others), pairs)
        return images.index_copy_(0, places, done)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on."""
        for step in range(first, self.steps_per_epoch):
            yield self.batch(epoch, step)


class EvalBatches:
    """Every picture once, unchanged (uint8), in the source's order; a contiguous part a rank."""

    def __init__(self, source: Source, batch_size: int, rank: int = 0, world: int = 1) -> None:
        """Args as for `TrainBatches`; `batch_size` is for one rank."""
        self.source, self.batch_size = source, batch_size
        self.start, self.stop = share(0, source.n, rank, world)

    def __len__(self) -> int:
        return batch_count(self.stop - self.start, self.batch_size)

    def batch(self, step: int) -> Batch:
        """Return this rank's batch `step`; its `start` counts from the source's first picture."""
        first, last = batch_bounds(self.stop - self.start, self.batch_size, step)
        indices = np.arange(self.start + first, self.start + last)
        labels = self.source.labels_of(indices)
        images = self.source.gather(indices).permute(0, 3, 1, 2)
        return Batch(images, _to(labels, self.source.device), indices, int(indices[0]), labels)

    def __iter__(self) -> Iterator[Batch]:
        return (self.batch(step) for step in range(len(self)))


def _items(order: EpochSampler, epoch: int, start: int, stop: int) -> Items:
    blocks = [_block(order, epoch, number) for number in range(start // BLOCK, -(-stop // BLOCK))]
    offset = start // BLOCK * BLOCK
    return np.concatenate(blocks)[start - offset : stop - offset]


@lru_cache(maxsize=8)
def _block(order: EpochSampler, epoch: int, number: int) -> Items:
    start = number * BLOCK
    return order.positions(epoch, start, min(start + BLOCK, order.items))


def _to(labels: NDArray, device: torch.device) -> Tensor:
    host = torch.from_numpy(labels)
    return host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
