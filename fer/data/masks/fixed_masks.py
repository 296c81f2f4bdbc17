"""Masks on validation images: drawn as in training, but once, so that epochs and runs compare.

Which image gets which mask depends on the validation split alone (`data.val_seed`), not on the
run: scores of runs are on the same images, and an ensemble's members see the same masks.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fer.data.augment.random_numbers import Samples
from fer.data.masks.atlas import PER_STYLE, Choice, MaskAugmentation
from fer.data.pixels import Indices, Source


class MaskedSource(Source):
    """A source of which a fixed share wears masks, in every class, the styles equally often."""

    def __init__(self, source: Source, masks: MaskAugmentation, seed: int, name: str) -> None:
        """Args:
        source: the images.
        masks: for their size, with the share that gets a mask.
        seed: of the draw.
        name: of the masks' configuration; tells cached features apart.
        """
        super().__init__(source.packs, source.device)
        self.masks = masks
        self.wearers, self.choice = fixed_draw(source, masks, seed)
        self.drawn = f"{name} {seed}"
        self.masked = len(self.wearers)

    def gather(self, indices: Indices) -> Tensor:
        """Return images like `Source.gather`, some of them with their mask."""
        images = super().gather(indices)
        rows = np.flatnonzero(np.isin(indices, self.wearers))
        masks = np.searchsorted(self.wearers, indices[rows])
        return self.masks.wear(images, rows, self.choice.some(masks))


def fixed_draw(source: Source, masks: MaskAugmentation, seed: int
               ) -> tuple[NDArray[np.int64], Choice]:
    """Return the indices of the images that get a mask (int64, ascending), and their masks."""
    every = np.arange(source.n)
    samples = Samples(seed, 0, source.uids_of(every), np.zeros(source.n, np.int64))
    # in the order of classes, and at random within: each gets its share, and each style its own
    order = np.lexsort((samples.between("validation order", 0, 1), source.labels_of(every)))
    counts = np.floor(np.arange(source.n + 1) * masks.probability + 0.5)
    wearers = order[np.diff(counts) > 0]
    styles = np.arange(len(wearers)) % (len(masks.atlas) // PER_STYLE)
    back = np.argsort(wearers)
    wearers, styles = wearers[back], styles[back]
    _, choice = MaskAugmentation(masks.atlas, 1.0).choose(samples.some(wearers))
    return wearers, choice.of_styles(styles)
