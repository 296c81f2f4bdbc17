"""Paired views: each training picture and the same face without its mask, augmented alike.

For methods that look at a face with and without a mask (joint training, distillation,
consistency). Both take the numbers of the first view, so they are turned and lit alike; masks that
are drawn on the fly are on the first view only.
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
        batches: of the first view; pictures are not mixed there.
        clean: has the second view of each picture; None takes the picture itself.

        Raises:
            CallerError: pictures without a twin.
        """
        assert batches.mix is None, "which label would a mixed pair have?"
        self.batches = batches
        self.clean = clean or batches.source
        self._second = (np.arange(batches.source.n) if clean is None
                        else partners_in(clean, batches.source))

    def batch(self, epoch: int, step: int) -> Batch:
        """Return a batch with its second view, row by row."""
        first = self.batches.batch(epoch, step)
        images = self.clean.gather(self._second[first.indices])
        second = self.batches.preset.apply(images, self.batches.samples(epoch, step))
        return replace(first, second=second)


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
