"""Decode one picture, or say in two words why it cannot be used.

Not for deciding what happens to bad pictures: the pack quarantines them (`fer.data.pack`).
"""

import base64
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MIN_SIDE = 16  # pixels; no face is recognisable below it
THUMBNAIL = 132  # pixels: 1.5 times the size on a page
MAX_PIXELS = 50_000_000  # above any camera's picture of one face; guards against bombs

EMPTY = "empty file"
NOT_AN_IMAGE = "not an image"
TRUNCATED = "truncated"
CORRUPT = "corrupt"
TOO_SMALL = f"smaller than {MIN_SIDE} pixels"
TOO_LARGE = f"more than {MAX_PIXELS // 1_000_000} megapixels"

# What Pillow's decoders raise on damaged bytes (read in Pillow's plugins and its fuzz tests).
_DAMAGE = (OSError, SyntaxError, ValueError, IndexError, TypeError, KeyError, EOFError,
           OverflowError, struct.error, zlib.error)


def inspect_picture(path: Path) -> tuple[NDArray[np.uint8] | None, str | None]:
    """Return (pixels, None), or (None, reason) for a picture that can't be used.

    Pixels are uint8 RGB (H, W, 3). Grey, palette, CMYK and 16-bit pictures are converted (16 bits
    are scaled to 8), transparency is dropped as torchvision's ImageFolder does, and the EXIF
    orientation is applied, so that a phone's portrait stands upright.

    Raises:
        OSError: the file can't be read (missing, no permission, I/O error): that says nothing
            about the picture and must not shrink a data set silently.
    """
    image, reason = decode(path)
    return (np.asarray(image) if image is not None else None), reason


def decode(path: Path) -> tuple[Image.Image | None, str | None]:
    """Return (RGB image, None) or (None, reason), as `inspect_picture` does."""
    if path.stat().st_size == 0:
        return None, EMPTY
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None, TOO_LARGE
    except UnidentifiedImageError:
        return None, NOT_AN_IMAGE
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return None, TRUNCATED if "truncated" in str(error).lower() else CORRUPT


def _decode(path: Path) -> tuple[Image.Image | None, str | None]:
    with Image.open(path) as image:
        width, height = image.size
        if min(width, height) < MIN_SIDE:
            return None, TOO_SMALL
        if width * height > MAX_PIXELS:
            return None, TOO_LARGE
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image)), None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it to 255
        wide = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def thumbnail(path: Path) -> str | None:
    """Return the picture at `path` as a small JPEG data URI; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except (*_DAMAGE, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
