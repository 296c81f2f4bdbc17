"""Fixed views of every picture, independent of the run's seed and the epoch.

Features of a frozen network on them can be computed once and cached. The first view is the original
picture; the others are augmented.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.data.augment.mixing import as_unit
from fer.data.augment.presets import PRESETS
from fer.data.augment.random_numbers import Samples
from fer.data.batches import Batch, TrainBatches
from fer.data.pixels import Indices

SEED = 0x5EED  # of all views, so that runs of different seeds share them
DEGREES = 6.0  # in both directions; within the rotations of the training presets
SHIFT = 0.04  # of the width, in both directions
COUNT = 10


class FixedViews:
    """The fixed views of a source's pictures."""

    def __init__(self, batches: TrainBatches, count: int) -> None:
        """Args:
        batches: defines source, augmentation, masks and order.
        count: number of views per picture.
        """
        self.batches, self.count = batches, count

    def pictures(self, indices: Indices, view: int) -> Tensor:
        """Return one view of pictures, (N, 3, size, size), like `Batch.images`.

        Args:
            indices: int64 (N,), indices into the source.
            view: 0…count-1.
        """
        source = self.batches.source
        views = np.full(len(indices), view, np.int64)
        samples = Samples(SEED, 0, source.uids_of(indices), views)
        if view == 0:
            return PRESETS["none"].apply(source.gather(indices), samples)
        return self.batches.pictures(indices, samples)

    def turn(self, epoch: int, step: int) -> tuple[Indices, NDArray[np.int64]]:
        """Return the indices and views of a global batch: int64 (G,), (G,)."""
        indices, samples = self.batches.whole(epoch, step)
        return indices, (epoch * self.batches.order.passes + samples.passes) % self.count

    def batch(self, epoch: int, step: int) -> Batch:
        """Return this rank's share of a batch, like `TrainBatches.batch`."""
        indices, views = self.turn(epoch, step)
        first, last = self.batches.share(len(indices))
        mine, kinds = indices[first:last], views[first:last]
        order = np.argsort(kinds, kind="stable")
        parts = [as_unit(self.pictures(mine[kinds == view], view)) for view in range(self.count)]
        back = torch.from_numpy(np.argsort(order, kind="stable"))
        images = torch.cat(parts)
        return self.batches.labelled(images[back.to(images.device)], indices, first)


def tta_views(images: Tensor) -> Iterator[Tensor]:
    """Yield `COUNT` views of images (N x 3 x H x W, uint8 or float), the first unchanged.

    Upright, rotated left and right, shifted left and right, and the mirror image of each. Pixels
    from outside are black, like the corners of aligned faces.
    """
    from torchvision.transforms.v2 import functional  # slow import (0.5 s), rarely needed

    bilinear = functional.InterpolationMode.BILINEAR
    step = round(SHIFT * images.shape[-1])
    for seen in (images, images.flip(-1)):
        yield seen
        for angle in (-DEGREES, DEGREES):
            yield functional.rotate(seen, angle, interpolation=bilinear)
        for shift in (-step, step):
            yield functional.affine(seen, angle=0.0, translate=[shift, 0], scale=1.0,
                                    shear=[0.0, 0.0])
