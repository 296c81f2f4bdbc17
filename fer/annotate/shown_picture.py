"""What the browser gets of a picture's file: a JPEG, and where its face seems to be."""

import io
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from fer.data.decode import decode
from fer.data.faces import detector
from fer.data.faces.boxes import Box, middle_square

LARGEST = 1024  # pixels: the longer side of what the browser gets
KEPT = 32  # encoded pictures in memory: this one, the next ones, and a few undone ones
Stamp = tuple[int, int] | None
_detector = threading.Lock()  # a network of OpenCV serves one thread at a time


def stamp(path: Path) -> Stamp:
    """Return what tells a replaced file from the one before."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=KEPT)
def encoded(path: Path, stamp: Stamp) -> tuple[bytes | None, str]:
    """Return a picture as JPEG, or why it is unreadable."""
    image, reason = _decoded(path)
    if image is None:
        return None, reason
    image.thumbnail((LARGEST, LARGEST))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue(), ""


@lru_cache(maxsize=1024)
def suggested_box(path: Path, stamp: Stamp) -> tuple[tuple[int, int], Box] | None:
    """Return a picture's width and height, and a box to correct; None if it is unreadable.

    The box is that of the largest face, or a square in the middle if none is found, or no detector
    is installed.
    """
    image, _ = _decoded(path)
    if image is None:
        return None
    faces = []
    if detector.is_available():
        with _detector:
            faces = detector.find_faces(np.asarray(image))
    return image.size, faces[0].box if faces else middle_square(*image.size)


def _decoded(path: Path) -> tuple[Image.Image | None, str]:
    try:
        image, reason = decode(path)
    except OSError as error:
        return None, error.strerror or "cannot be read"
    return image, str(reason or "")
