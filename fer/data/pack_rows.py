"""Pictures into the rows of a pack: what each process that builds one does.

Imports little, because every such process begins with it. Not for the pack as a whole
(`fer.data.pack_builder`).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.decode import decode

Failures = dict[int, str]  # row -> reason


def fill_rows(chunk: tuple[Path, int, list[Path]]) -> tuple[int, int, Failures]:
    """Write pictures into the rows of a pack's `pixels.npy`, from a row on.

    Args:
        chunk: the file, the first row, and the pictures.

    Returns:
        the first row, how many pictures there were, and those that cannot be used.
    """
    path, start, pictures = chunk
    pixels = np.load(path, mmap_mode="r")
    size, offset = pixels.shape[1], pixels.offset
    failures: Failures = {}
    with open(path, "r+b") as handle:  # writing into the map would fault every page
        for row, picture in enumerate(pictures, start):
            image, reason = decode(picture)
            if image is None:
                failures[row] = str(reason)
                continue
            handle.seek(offset + row * pixels[0].nbytes)
            handle.write(fit(image, size).tobytes())
    return start, len(pictures), failures


def fit(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the middle of an RGB image, shorter side resized to `size`: uint8 (size, size, 3).

    Sizes and offsets are rounded as in torchvision's Resize and CenterCrop.
    """
    width, height = image.size
    if min(width, height) != size:
        if width <= height:
            width, height = size, int(size * height / width)
        else:
            width, height = int(size * width / height), size
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.asarray(image)[top : top + size, left : left + size]
