"""Reader for folders of pictures: split folders with class folders, or class folders only.

The same rules apply to the members of a zip: they use paths only and open no files.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import Labels
from fer.data.layout import SPLITS, SUFFIXES
from fer.errors import CallerError

Parts = tuple[str, ...]
Place = tuple[str, str, str]  # split, label (the class folder's name), file name


def read_folder(folder: Path, labels: Labels, split: str = "") -> Incoming:
    """Return the content of a folder; its own `pictures.csv` is ignored (use `read_table`).

    Args:
        folder: contains split folders with class folders, possibly some levels down.
        labels: of the class folders.
        split: of the pictures if there are class folders only.

    Raises:
        CallerError: no pictures in class folders (lists what was found), or an unknown class.
    """
    files = {path.relative_to(folder).parts: path for path in _pictures(folder)}
    placed, stray = place_all(list(files), split, str(folder))
    notes = []
    if stray:
        notes.append(f"{folder}: {len(stray)} pictures outside class folders left out, such as "
                     f"{'/'.join(stray[0])}")
    items = []
    for parts, (where, label, name) in placed.items():
        path = files[parts]
        cls = labels.of(label, str(path.parent))
        if cls is not None:
            items.append(item_of(path, where, cls, name))
    return Incoming(str(folder.absolute()), items, notes)


def item_of(path: Path, split: str, cls: str, name: str) -> Item:
    """Return the item of a picture file."""
    return Item(split, cls, name, path.stat().st_size, str(path), partial(shutil.copyfile, path),
                path=path)


def _pictures(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield Path(place) / name


def place_all(paths: Sequence[Parts], split: str, source: str
              ) -> tuple[dict[Parts, Place], list[Parts]]:
    """Return (path -> its place, the paths outside class folders).

    Args:
        paths: of pictures, relative to the source.
        split: of the pictures if there are class folders only; empty: the folder above the class
            folder is the split.
        source: for messages.

    Raises:
        CallerError: no picture is in a class folder, or there is more than one data set.
    """
    placed = {parts: place for parts in paths if (place := _place(parts, split)) is not None}
    if not placed:
        raise CallerError(f"{source}: {_expected(split)}; found: {_found(paths)}")
    tops = sorted({parts[: -2 if split else -3] for parts in placed})
    if len(tops) > 1:
        names = ", ".join("/".join(top) or "." for top in tops[:4])
        raise CallerError(f"{source} holds more than one data set: {names}; add them one by one")
    return placed, [parts for parts in paths if parts not in placed]


def _place(parts: Parts, split: str) -> Place | None:
    if split:
        return (split, parts[-2], parts[-1]) if len(parts) >= 2 else None
    if len(parts) < 3 or parts[-3].lower() not in SPLITS:
        return None
    return parts[-3].lower(), parts[-2], parts[-1]


def _expected(split: str) -> str:
    if split:
        return "expected a folder for each class with pictures in it"
    return (f"expected SPLIT/CLASS/picture with a split of {', '.join(SPLITS)}; for class folders "
            "only, use --split")


def _found(paths: Iterable[Parts]) -> str:
    seen = sorted({"/".join(parts[:-1]) or "pictures directly in it" for parts in paths})
    return ", ".join(seen[:6]) + (", …" if len(seen) > 6 else "") if seen else "no pictures"
