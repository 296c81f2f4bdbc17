"""Writing of pictures into the rows of a pack: the task of each builder process.

Imports little, because every builder process imports it. The pack as a whole is built in
`fer.data.pack_builder`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.decode import decode

Failures = dict[int, str]  # row -> reason


def fill_rows(chunk: tuple[Path, int, list[Path]]) -> tuple[int, int, Failures]:
    """Write pictures into consecutive rows of a pack's `pixels.npy`.

    Args:
        chunk: the file, the first row, and the pictures.

    Returns:
        the first row, the number of pictures, and the unusable rows.
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
    """Return the centre crop of an RGB image with its shorter side resized to `size`.

    uint8 (size, size, 3).

    Rounding of sizes and offsets follows torchvision's Resize and CenterCrop.
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
