"""Paired views: each training image and the same face without its mask, augmented equally.

For methods that use a face with and without a mask (joint training, distillation, consistency).
Both views use the random numbers of the first, so geometry and light agree; masks drawn during
training are on the first view only.
"""

from collections import Counter
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from fer.data.batches import Batch, TrainBatches
from fer.data.people import pair_key_of
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

    Counterparts agree in split folder, class and file name without suffix; if there is none, in
    `pair_key_of` the name, which has no text of a masking tool.

    Raises:
        CallerError: pictures without a counterpart; names their number and the first.
    """
    theirs = _names(twin)
    exact = {name: number for number, (name, _) in enumerate(theirs)}
    unique = Counter(key for _, key in theirs)
    close = {key: number for number, (_, key) in enumerate(theirs) if unique[key] == 1}
    found = [exact.get(name, close.get(key, -1)) for name, key in _names(source)]
    missing = [number for number, other in enumerate(found) if other < 0]
    if missing:
        first = source.index().column("sample_id")[missing[0]].as_py()
        raise CallerError(f"{len(missing)} of {source.n} pictures have no counterpart, such as "
                          f"{first}")
    return np.array(found, np.int64)


def _names(source: Source) -> list[tuple[str, str]]:
    """Return (path without set and suffix, folder / pair key) of each picture."""
    ids = source.index().column("sample_id").to_pylist()
    paths = [PurePosixPath(name.partition("/")[2]) for name in ids]
    return [(str(path.with_suffix("")), f"{path.parent}/{pair_key_of(path.name)}")
            for path in paths]
