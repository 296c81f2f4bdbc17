"""The pictures that a user names: files, folders and patterns. They are opened elsewhere."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fer.data.file_walk import visible_files
from fer.data.layout import is_picture
from fer.data.picture_format import SUFFIXES
from fer.errors import CallerError


def find_pictures(names: Sequence[str]) -> list[str]:
    """Return the files, in the order named, each once; a folder gives its pictures, sorted.

    Args:
        names: files, whatever their suffix; folders, with all folders below; patterns such as
            `photos/**/*.jpg`.

    Raises:
        CallerError: nothing has a name or fits a pattern, or there is no picture at all.
    """
    found = list(dict.fromkeys(path for name in names for path in _of_name(name)))
    if not found:
        raise CallerError(f"no pictures in {', '.join(map(str, names)) or 'nothing'}; pictures "
                          f"are {'/'.join(SUFFIXES)} files")
    return found


def _of_name(name: str) -> Iterator[str]:
    if os.path.isdir(name):
        yield from _in_folder(name)
    elif os.path.lexists(name):
        yield os.path.normpath(name)
    elif glob.has_magic(name):
        fitting = sorted(glob.glob(name, recursive=True))
        if not fitting:
            raise CallerError(f"no file fits the pattern '{name}'")
        for path in fitting:
            if os.path.isdir(path):
                # `**` names each folder and its files too
                yield from () if "**" in name else _in_folder(path)
            elif is_picture(path) or "**" not in name:
                yield os.path.normpath(path)
    else:
        raise CallerError(f"no file or folder '{name}'")


def _in_folder(folder: str) -> Iterator[str]:
    for file in visible_files(Path(folder)):
        if is_picture(file.name):
            yield os.path.normpath(Path(folder) / file)
