"""The picture format of a file by its first bytes, whatever its name says.

Only recognises; decoding is in `fer.data.decode`. HEIC and AVIF need a plugin of Pillow.
"""

import importlib.util
import os

from PIL import features

HEAD = 32  # bytes that are enough
SUFFIX_OF = {"JPEG": ".jpg", "PNG": ".png", "BMP": ".bmp", "WEBP": ".webp", "TIFF": ".tif",
             "GIF": ".gif", "AVIF": ".avif", "HEIF": ".heic"}
FORMAT_OF = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
             ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF",
             ".avif": "AVIF", ".heic": "HEIF", ".heif": "HEIF"}
SUFFIXES = tuple(FORMAT_OF)
JPEG_SUFFIXES = tuple(suffix for suffix, kind in FORMAT_OF.items() if kind == "JPEG")

_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes: sizes of the versions of its header
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def format_of(head: bytes, name: str) -> str:
    """Return Pillow's name of a file's format; empty if it is no picture.

    Args:
        head: the first `HEAD` bytes.
        name: of the file. A camera's raw file is a TIFF by content: only its suffix tells it apart.
    """
    suffix = os.path.splitext(name)[1].lower()
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF" if not suffix or suffix in SUFFIXES else ""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "AVIF" if brand in (b"avif", b"avis") else "HEIF" if brand in _HEIC else ""
    if head.startswith(b"BM"):
        return "BMP" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else ""
    if head.startswith(b"RIFF"):
        return "WEBP" if head[8:12] == b"WEBP" else ""
    starts = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF",
              b"GIF89a": "GIF"}
    return next((kind for start, kind in starts.items() if head.startswith(start)), "")


def missing_plugin(kind: str) -> str:
    """Return how to make a format readable; empty if it is."""
    if kind == "HEIF" and importlib.util.find_spec("pillow_heif") is None:
        return "HEIC, which needs a plugin: pip install pillow-heif"
    if kind == "AVIF" and not features.check("avif"):
        return "AVIF, which needs Pillow 11.3 or newer with AVIF"
    return ""


def picture_name(name: str, kind: str) -> str:
    """Return a file name with a suffix that the layout reads as a picture."""
    known = os.path.splitext(name)[1].lower() in SUFFIXES
    return name if known else name + SUFFIX_OF[kind]
