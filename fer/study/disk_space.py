"""Whether the places of a run can be written: asked before work begins, and said in one line.

Knows errors of the operating system, not what is written.
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
LEAST_FREE = 50e6  # bytes; what a small run writes, its report included


def check_room(folder: Path, variable: str, least: float = 0) -> None:
    """Make `folder` where it is missing, and see that there is room in it.

    Args:
        folder: what the environment variable `variable` names.
        least: bytes that must be free.

    Raises:
        CallerError: the folder cannot be made, or less is free.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise CallerError(f"{folder}: {error.strerror}; set {variable} to a folder that can be "
                          "written") from None
    if free < least:
        raise CallerError(f"{folder}: {free / 1e6:.0f} MB free, {least / 1e6:.0f} are needed; "
                          f"make room or set {variable}")


@contextmanager
def disk_refusals_named(place: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises in the block into a `CallerError`.

    Args:
        place: what the line names where the error itself names no file.
    """
    try:
        yield
    except Exception as error:
        line = disk_refusal(error, place)
        if line is None:
            raise
        raise CallerError(line) from error


def disk_refusal(error: Exception, place: Path | None = None) -> str | None:
    """Return the line for an error of a disk that is full or may not be written, else None."""
    number = _errno(error)
    if number not in REFUSALS:
        return None
    named = getattr(error, "filename", None) or place or "a place below FER_HOME or FER_CACHE"
    return (f"{named}: {os.strerror(number)}; nothing is lost: mend that (FER_HOME, FER_CACHE and "
            "FER_DATA say where things are) and run the command again")


def _errno(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    rust = re.search(r"\(os error (\d+)\)", str(error))  # safetensors raises errors of its own
    return int(rust[1]) if rust else None
