"""The files below a folder, in one order everywhere: those of a folder, sorted, then its folders.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fer.data.layout import is_system
from fer.errors import CallerError


def all_files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, relative to it, also hidden ones and those behind links.

    Raises:
        CallerError: a folder cannot be read.
    """
    return _walk(folder, lambda name: True, follow=True)


def visible_files(folder: Path, follow: bool = False) -> Iterator[Path]:
    """Yield the files below a folder, relative to it, without hidden and system files and folders.

    Args:
        follow: follow links to folders; a folder that cannot be read is then refused, because
            every file is accounted for. Otherwise it is passed over.

    Raises:
        CallerError: a folder cannot be read.
    """
    return _walk(folder, lambda name: not is_system(name), follow)


def _walk(folder: Path, wanted: Callable[[str], bool], follow: bool) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=follow,
                                         onerror=_refuse if follow else None):
        if follow:  # no folder is entered twice, so that loops of links end
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(filter(wanted, folders))
        below = Path(place).relative_to(folder)
        yield from (below / name for name in sorted(files) if wanted(name))


def _refuse(error: OSError) -> None:
    raise CallerError(f"{error.filename}: cannot be read: {error.strerror}")
