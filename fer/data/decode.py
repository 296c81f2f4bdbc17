"""Decoding of one picture, or a short reason why it is unusable.

Unusable pictures are quarantined by the pack (`fer.data.pack`).
"""

import base64
import importlib
import io
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fer.data.picture_format import FORMAT_OF, HEAD, format_of, missing_plugin

if not missing_plugin("HEIF"):
    importlib.import_module("pillow_heif").register_heif_opener()

MIN_SIDE = 16  # pixels; smaller faces are not recognisable
THUMBNAIL = 132  # pixels: 1.5 times the size on a page
MAX_PIXELS = 50_000_000  # more than any photo of one face; guards against decompression bombs
LONGEST = 50  # sides: scaling the short one up to a model's input would take gigabytes beyond

EMPTY = "empty file"
NOT_A_FILE = "not a regular file"
NOT_AN_IMAGE = "not an image"
TRUNCATED = "truncated"
CORRUPT = "corrupt"
TOO_SMALL = f"smaller than {MIN_SIDE} pixels"
TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} megapixels"
TOO_LONG = f"one side over {LONGEST} times the other"

# exceptions of Pillow's decoders on damaged bytes (from its plugins and fuzz tests)
_DAMAGE = (OSError, SyntaxError, ValueError, IndexError, TypeError, KeyError, EOFError,
           OverflowError, struct.error, zlib.error)


def inspect_picture(path: Path) -> tuple[NDArray[np.uint8] | None, str | None]:
    """Return (pixels, None), or (None, reason) for an unusable picture.

    Pixels are uint8 RGB (H, W, 3). Grey, palette, CMYK and 16-bit pictures are converted (16 bits
    are scaled to 8), transparency is dropped as in torchvision's ImageFolder, and the EXIF
    orientation is applied.

    Raises:
        OSError: the file cannot be read (missing, no permission, I/O error), which must not shrink
            a data set silently.
    """
    image, reason = decode(path)
    return (np.asarray(image) if image is not None else None), reason


def decode(path: Path, least: int = 0) -> tuple[Image.Image | None, str | None]:
    """Return (image, None) or (None, reason), like `inspect_picture`; RGB unless `least` is set.

    Args:
        least: if set, a JPEG may come back in mode L and 2, 4 or 8 times smaller, but no side
            shorter than this, which takes half the time; so may a grey picture, in its own size.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):  # a FIFO would wait for ever
        return None, NOT_A_FILE
    if status.st_size == 0:
        return None, EMPTY
    try:
        return _decode(path, least)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None, TOO_LARGE
    except UnidentifiedImageError:
        with open(path, "rb") as file:
            return None, missing_plugin(format_of(file.read(HEAD), path.name)) or NOT_AN_IMAGE
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return None, TRUNCATED if "truncated" in str(error).lower() else CORRUPT


def _decode(path: Path, least: int) -> tuple[Image.Image | None, str | None]:
    with _opened(path) as image:
        width, height = image.size
        if min(width, height) < MIN_SIDE:
            return None, TOO_SMALL
        if width * height > MAX_PIXELS:
            return None, TOO_LARGE
        if max(width, height) > LONGEST * min(width, height):
            return None, TOO_LONG
        if least:
            image.draft("L", (least, least))
        image.load()
        upright = ImageOps.exif_transpose(image)
        return upright if least and upright.mode == "L" else to_rgb(upright), None


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture of a format that is decoded; only a decompression bomb is more than a warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=_formats()) as image:
            yield image


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that are decoded; Pillow has others, one of which starts Ghostscript."""
    Image.init()
    return tuple(kind for kind in (*FORMAT_OF.values(), "MPO") if kind in Image.OPEN)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB; 16 bits are scaled to 8, transparency is dropped."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it to 255
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def thumbnail(path: Path) -> str | None:
    """Return the picture at `path` as a small JPEG data URI; None if it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with _opened(path) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            small = to_rgb(ImageOps.exif_transpose(image))  # as models see it
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except (*_DAMAGE, UnidentifiedImageError, Image.DecompressionBombError,
            Image.DecompressionBombWarning):
        return None
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
