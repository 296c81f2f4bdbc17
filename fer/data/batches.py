"""Stateless batches for training and evaluation: any batch of any epoch, in any order.

The global batch is defined first and then divided among ranks, so samples and augmentations do
not depend on the number of GPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.config.augmentation import Mix
from fer.data.augment.mixing import Mixture, as_unit, label_shares, mixed, mixture, partners
from fer.data.augment.presets import PRESETS, Preset
from fer.data.augment.random_numbers import Samples
from fer.data.pixels import Indices, Source
from fer.data.sampler import EpochSampler, Items, batch_bounds, batch_count, share

if TYPE_CHECKING:
    from fer.data.masks.atlas import MaskAugmentation

BLOCK = 1024  # items ordered at a time; ordering a single batch costs a quarter of that


@dataclass(frozen=True)
class Batch:
    """One rank's share of the global batch of one step.

    Attributes:
        images: (N, 3, size, size) on the device, channels_last; uint8 0…255 or float32 0…1.
        labels: int64 (N,) on the device; float32 (N, C), the share of each class, if images are
            mixed or weighted.
        indices: int64 (N,), indices into the source.
        start: position of the first sample in the global batch.
        global_labels: of the whole global batch, int64 (G,) or float32 (G, C) like `labels`, so
            that every rank knows the sum of the loss weights.
        second: another view of the same images, like `images`, if there is one.
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
        """Return the batch split into parts of at most `size` samples; at least one part."""
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
        source: the training images; batches are created on its device.
        seed: the run's seed, for order and augmentation.
        augment: a preset or its name.
        batch_size: maximum size of a global batch; sizes differ by at most one.
        rank: of this process, 0…world-1; selects its share of each global batch.
        world: number of processes. Some shares are empty if it exceeds the batch size.
        masks: drawn on some of the images before augmentation.
        mix: mixing of augmented images and their labels.
        weights: weight of each image, float32 (n,); None for equal weights.
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
        """Return a batch of unmixed images, or of their features.

        Args:
            images: this rank's share, which starts at position `first` of the global batch.
            indices: int64 (G,), the whole global batch.
        """
        labels = self.labels_of(indices)
        mine = slice(first, first + len(images))
        return Batch(images, _to(labels[mine], self.source.device), indices[mine], first, labels)

    def labels_of(self, indices: Indices) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return labels of unmixed images, as in `Batch.global_labels`."""
        if self.weights is None:
            return self.source.labels_of(indices)
        return self._shares(indices, np.ones(len(indices)), indices)

    def _shares(self, indices: Indices, share: NDArray[np.float64], partner: Indices
                ) -> NDArray[np.float32]:
        """Return the share of each class in each sample: float32 (N, C)."""
        mine, others = share, 1 - share
        if self.weights is not None:
            mine, others = mine * self.weights[indices], others * self.weights[partner]
        return label_shares(self.source.labels_of(indices), self.source.labels_of(partner),
                            mine, others, len(self.source.class_counts))

    def samples(self, epoch: int, step: int) -> Samples:
        """Return the sample keys of `batch`."""
        _, samples = self.whole(epoch, step)
        return samples.some(slice(*self.share(len(samples))))

    def whole(self, epoch: int, step: int) -> tuple[Indices, Samples]:
        """Return the indices and sample keys of the whole global batch."""
        start, stop = batch_bounds(self.order.items, self.batch_size, step)
        indices, passes = self.order.samples_and_passes(_items(self.order, epoch, start, stop))
        return indices, Samples(self.seed, epoch, self.source.uids_of(indices), passes)

    def share(self, size: int) -> tuple[int, int]:
        """Return this rank's rows (start, stop) of a global batch of this size."""
        return share(0, size, self.rank, self.world)

    def pictures(self, indices: Indices, samples: Samples) -> Tensor:
        """Return augmented images, (N, 3, size, size), by their indices into the source.

        Args:
            indices: int64 (N,).
            samples: the keys of their masks and augmentation.
        """
        images = self.source.gather(indices)
        if self.masks is not None:
            images = self.masks.apply(images, samples)
        return self.preset.apply(images, samples)

    def _mixed(self, images: Tensor, samples: Samples, pairs: Mixture) -> Tensor:
        """Return the images of a share mixed with their partners; only used partners are loaded."""
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
        """Yield the batches of an epoch from step `first` on."""
        for step in range(first, self.steps_per_epoch):
            yield self.batch(epoch, step)


class EvalBatches:
    """Every image once, unchanged (uint8), in the source's order; a contiguous part per rank."""

    def __init__(self, source: Source, batch_size: int, rank: int = 0, world: int = 1) -> None:
        """Args as for `TrainBatches`; `batch_size` is per rank."""
        self.source, self.batch_size = source, batch_size
        self.start, self.stop = share(0, source.n, rank, world)

    def __len__(self) -> int:
        return batch_count(self.stop - self.start, self.batch_size)

    def batch(self, step: int) -> Batch:
        """Return this rank's batch `step`; its `start` is an index into the source."""
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
