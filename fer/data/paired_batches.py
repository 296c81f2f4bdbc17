"""Paired views: each training image and the same face without its mask, augmented equally.

For methods that use a face with and without a mask (joint training, distillation, consistency).
Both views use the random numbers of the first, so geometry and light agree; masks drawn during
training are on the first view only.
"""

from dataclasses import replace

import numpy as np

from fer.data.batches import Batch, TrainBatches
from fer.data.pixels import Indices, Source
from fer.errors import CallerError


class PairedBatches:
    """The batches of `TrainBatches`, each with a second, unmasked view of its pictures."""

    def __init__(self, batches: TrainBatches, clean: Source | None = None) -> None:
        """Args:
        batches: of the first view, without mixing.
        clean: contains the second view of each image; None for the image itself.

        Raises:
            CallerError: images without a counterpart.
        """
        assert batches.mix is None, "a mixed pair has no single label"
        self.batches = batches
        self.clean = clean or batches.source
        self._second = (np.arange(batches.source.n) if clean is None
                        else partners_in(clean, batches.source))

    def batch(self, epoch: int, step: int) -> Batch:
        """Return a batch with a second view of each row."""
        first = self.batches.batch(epoch, step)
        images = self.clean.gather(self._second[first.indices])
        second = self.batches.preset.apply(images, self.batches.samples(epoch, step))
        return replace(first, second=second)


def partners_in(twin: Source, source: Source) -> Indices:
    """Return the index of the counterpart in `twin` of each picture of `source`, int64 (n,).

    Counterparts agree in split folder, class and file name without suffix.

    Raises:
        CallerError: pictures without a counterpart; names their number and the first.
    """
    numbers = {place: number for number, place in enumerate(_places(twin))}
    found = [numbers.get(place, -1) for place in _places(source)]
    missing = [number for number, other in enumerate(found) if other < 0]
    if missing:
        first = source.index().column("sample_id")[missing[0]].as_py()
        raise CallerError(f"{len(missing)} of {source.n} pictures have no counterpart, such as "
                          f"{first}")
    return np.array(found, np.int64)


def _places(source: Source) -> list[str]:
    ids = source.index().column("sample_id").to_pylist()
    return [name.partition("/")[2].rpartition(".")[0] for name in ids]
