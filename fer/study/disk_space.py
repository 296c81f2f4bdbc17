"""Checks that the folders of a run can be written, with one-line errors.

Handles errors of the operating system only.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer.errors import CallerError

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOTDIR)
LEAST_FREE = 50e6  # bytes; what a small run writes, including its report


def check_room(folder: Path, variable: str, least: float = 0) -> None:
    """Create `folder` if missing, and check that it has enough free space.

    Args:
        folder: value of the environment variable `variable`.
        least: bytes that must be free.

    Raises:
        CallerError: the folder cannot be created, or less is free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CallerError(f"{folder}: {error.strerror}; set {variable} to a writable folder"
                          ) from None
    if free < least:
        raise CallerError(f"{folder}: {free / 1e6:.0f} MB free, {least / 1e6:.0f} MB needed; "
                          f"free some space or set {variable}")


@contextmanager
def disk_refusals_named(place: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk in the block into a `CallerError`.

    Args:
        place: named in the message if the error itself names no file.
    """
    try:
        yield
    except Exception as error:
        line = disk_refusal(error, place)
        if line is None:
            raise
        raise CallerError(line) from error


def disk_refusal(error: Exception, place: Path | None = None) -> str | None:
    """Return the message for an error of a full or read-only disk, else None."""
    number = _errno(error)
    if number not in REFUSALS:
        return None
    named = getattr(error, "filename", None) or place or "a place below FER_HOME or FER_CACHE"
    return (f"{named}: {os.strerror(number)}; nothing is lost: fix this (FER_HOME, FER_CACHE and "
            "FER_DATA set the folders) and run the command again")


def _errno(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    rust = re.search(r"\(os error (\d+)\)", str(error))  # safetensors has its own error class
    return int(rust[1]) if rust else None
