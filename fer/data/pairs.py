"""Paired views: the same people's pictures from two sets, under the same augmentation.

For methods that look at a face without and with its mask (distillation, consistency). A twin's
picture is augmented as its original is, because it takes the original's numbers; masks that are
drawn on the fly are laid on the second view only.
"""

import numpy as np
from torch import Tensor

from fer.data.batches import Batch, TrainBatches
from fer.data.masks.atlas import MaskAugmentation
from fer.data.source import Indices, Source
from fer.errors import CallerError


class PairedBatches:
    """The batches of `TrainBatches`, each with a second view of its pictures."""

    def __init__(self, batches: TrainBatches, twin: Source | None = None,
                 masks: MaskAugmentation | None = None) -> None:
        """Args:
        batches: of the first view; pictures are not mixed there.
        twin: has the second view of each picture; None takes the picture itself.
        masks: laid over the second view.

        Raises:
            CallerError: pictures without a twin.
        """
        assert batches.mix is None, "which label would a mixed pair have?"
        assert masks is None or batches.masks is None, "the first view is to stay unmasked"
        self.batches, self.masks = batches, masks
        self.twin = twin or batches.source
        self._second = (np.arange(batches.source.n) if twin is None
                        else partners_in(twin, batches.source))

    def batch(self, epoch: int, step: int) -> tuple[Batch, Tensor]:
        """Return a batch and its second view: of the form of `Batch.images`, row by row."""
        first = self.batches.batch(epoch, step)
        samples = self.batches.samples(epoch, step)
        images = self.twin.gather(self._second[first.indices])
        if self.masks is not None:
            images = self.masks.apply(images, samples)
        return first, self.batches.preset.apply(images, samples, self.twin.buffers)


def partners_in(twin: Source, source: Source) -> Indices:
    """Return for each picture of `source` the number of its twin, int64 (n,).

    Twins have one place in their sets: split folder, class and file name without suffix.

    Raises:
        CallerError: how many have none, and the first of them.
    """
    numbers = {place: number for number, place in enumerate(_places(twin))}
    found = [numbers.get(place, -1) for place in _places(source)]
    missing = [number for number, other in enumerate(found) if other < 0]
    if missing:
        first = source.index().column("sample_id")[missing[0]].as_py()
        raise CallerError(f"{len(missing)} of {source.n} pictures have no twin, such as {first}")
    return np.array(found, np.int64)


def _places(source: Source) -> list[str]:
    ids = source.index().column("sample_id").to_pylist()
    return [name.partition("/")[2].rpartition(".")[0] for name in ids]
