"""Inspection of every picture: whether it decodes, its format, and a perceptual hash.

Hashes and thumbnails are small, so a hundred thousand pictures can be compared in memory.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from xxhash import xxh3_128_hexdigest

from fer.data.decode import decode
from fer.data.layout import Picture
from fer.data.picture_format import FORMAT_OF, HEAD, format_of
from fer.data.process_map import ProcessPool, map_in_processes

SIDE = 16  # a difference hash has SIDE x SIDE bits: whether brightness increases to the right
THUMB = 24  # side in pixels of the grey thumbnails that confirm matching hashes
ENOUGH = 96  # pixels: the side of a picture from which hashes and thumbnails are made
JOB_PICTURES = 64
MISSING = "missing: a link to nothing"
MANY = 256  # pictures; for fewer, starting processes takes longer than the inspection

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Inspection:
    """The result of inspecting N pictures.

    Attributes:
        pictures: the pictures.
        digests: of the files' bytes.
        reasons: why a picture is unusable; empty if usable.
        formats: Pillow's name of a file's format if it differs from the suffix; else empty.
        prints: uint64 (N, 4), difference hashes; 0 for unusable pictures.
        thumbs: uint8 (N, THUMB, THUMB), grey.
    """

    pictures: tuple[Picture, ...]
    digests: tuple[str, ...]
    reasons: tuple[str, ...]
    formats: tuple[str, ...]
    prints: NDArray[np.uint64]
    thumbs: NDArray[np.uint8]


def inspect_pictures(pictures: Sequence[Picture], progress: Progress | None = None,
                     pool: ProcessPool | None = None) -> Inspection:
    """Inspect pictures, in several processes if there are many.

    Args:
        pictures: in any order.
        progress: called with (pictures done, total).
        pool: as in `map_in_processes`.
    """
    paths = [picture.path for picture in pictures]
    jobs = [paths[start : start + JOB_PICTURES] for start in range(0, len(paths), JOB_PICTURES)]
    rows: list[_Row] = []
    workers = len(os.sched_getaffinity(0)) if len(paths) >= MANY else 1
    with closing(map_in_processes(_inspect_all, jobs, workers, pool)) as results:
        for found in results:
            rows += found
            if progress:
                progress(len(rows), len(paths))
    return Inspection(
        tuple(pictures), digests=tuple(row[0] for row in rows),
        reasons=tuple(row[1] for row in rows), formats=tuple(row[2] for row in rows),
        prints=_prints([row[3] for row in rows]),
        thumbs=np.frombuffer(b"".join(row[4] for row in rows), np.uint8
                             ).reshape(-1, THUMB, THUMB))


_Row = tuple[str, str, str, bytes, bytes]
_NOTHING = bytes((SIDE + 1) * SIDE), bytes(THUMB * THUMB)


def _inspect_all(paths: list[Path]) -> list[_Row]:
    return [_inspect_one(path) for path in paths]


def _inspect_one(path: Path) -> _Row:
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a link to a picture that was moved
        return f"missing {path}", MISSING, "", *_NOTHING
    digest = xxh3_128_hexdigest(content)
    image, reason = decode(path, ENOUGH)
    if image is None:
        return digest, str(reason), "", *_NOTHING
    grey = image if image.mode == "L" else image.convert("L")
    small, thumb = (grey.resize(size, Image.Resampling.BOX).tobytes()  # cheaper to send than arrays
                    for size in ((SIDE + 1, SIDE), (THUMB, THUMB)))
    return digest, "", _other_format(content[:HEAD], path), small, thumb


def _other_format(head: bytes, path: Path) -> str:
    found = format_of(head, path.name)
    return "" if found == FORMAT_OF.get(path.suffix.lower(), found) else found


def _prints(small: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return the hashes (N, 4) of grey pictures of SIDE rows and SIDE + 1 columns."""
    grey = np.frombuffer(b"".join(small), np.uint8).reshape(-1, SIDE, SIDE + 1)
    bits = (grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(grey), SIDE * SIDE)
    return np.packbits(bits, axis=1).view(np.uint64)
