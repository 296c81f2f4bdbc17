"""Small data sets on disk for the tests of `fer.data`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from fer.config.run import Data, DataSet

CLASSES = ("negative", "neutral", "positive")


def smooth(seed: int, side: int = 40, width: int | None = None) -> Image.Image:
    """Return a smooth random RGB picture, `side` high, `width` (or `side`) wide."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width or side, side), Image.Resampling.BICUBIC)


def write_set(folder: Path, splits: Mapping[str, int], people: int = 4, seed: int = 0) -> Path:
    """Write `splits[name]` JPEGs for every class of each split; person P0…Pn, five pictures each.

    Identities of different classes differ, as do those of different splits.
    """
    number = 0
    for split, count in splits.items():
        for cls in CLASSES:
            place = folder / split / cls
            place.mkdir(parents=True)
            for i in range(count):
                name = f"{split.title()}{cls.title()}_P{i // people}_{i % people + 1:04d}.jpg"
                smooth(seed + number).save(place / name, quality=95)
                number += 1
    return folder


def data_of(**folders: str) -> Data:
    """Return data with one set per keyword; the others are twins of the first."""
    first = next(iter(folders))
    return Data(sets={name: DataSet(folder=folder, twin_of=None if name == first else first)
                      for name, folder in folders.items()})
