"""Reader for folders of pictures: split folders with class folders, or class folders only.

The same rules apply to the members of a zip: they use paths only and open no files.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import Labels
from fer.data.layout import SPLITS, SUFFIXES
from fer.data.metadata import Facts
from fer.errors import CallerError

Parts = tuple[str, ...]


class Place(NamedTuple):
    """Where a picture goes: split, label (the class folder's name), file name; its person if known.
    """

    split: str
    label: str
    name: str
    person: str = ""


def read_folder(folder: Path, labels: Labels, split: str = "", by_person: bool = False) -> Incoming:
    """Return the content of a folder; its own `pictures.csv` is ignored (use `read_table`).

    Args:
        folder: contains split folders with class folders, possibly some levels down.
        labels: of the class folders.
        split: of the pictures if there are class folders only.
        by_person: a folder above or below the class folder is a person.

    Raises:
        CallerError: no pictures in class folders (lists what was found), or an unknown class.
    """
    files = {path.relative_to(folder).parts: path for path in _pictures(folder)}
    placed, stray = place_all(list(files), split, str(folder), labels if by_person else None)
    notes = []
    if stray:
        notes.append(f"{folder}: {len(stray)} pictures outside class folders left out, such as "
                     f"{'/'.join(stray[0])}")
    items = []
    for parts, place in placed.items():
        path = files[parts]
        cls = labels.of(place.label, str(path.parent))
        if cls is not None:
            items.append(replace(item_of(path, place.split, cls, place.name),
                                 facts=Facts(identity=place.person)))
    return Incoming(str(folder.absolute()), items, notes)


def item_of(path: Path, split: str, cls: str, name: str) -> Item:
    """Return the item of a picture file."""
    return Item(split, cls, name, path.stat().st_size, str(path), partial(shutil.copyfile, path),
                path=path, stamp=path.read_bytes)


def _pictures(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                yield Path(place) / name


def place_all(paths: Sequence[Parts], split: str, source: str, labels: Labels | None = None
              ) -> tuple[dict[Parts, Place], list[Parts]]:
    """Return (path -> its place, the paths outside class folders).

    Args:
        paths: of pictures, relative to the source.
        split: of the pictures if there are class folders only; empty: the folder above the class
            folder is the split.
        source: for messages.
        labels: if a folder above or below the class folder is a person.

    Raises:
        CallerError: no picture is in a class folder, or there is more than one data set.
    """
    placed = {parts: place for parts in paths
              if (place := _place(parts, split, labels)) is not None}
    if not placed:
        raise CallerError(f"{source}: {_expected(split, labels)}; found: {_found(paths)}")
    depth = (1 if split else 2) + (1 if labels else 0) + 1
    tops = sorted({parts[:-depth] for parts in placed})
    if len(tops) > 1:
        names = ", ".join("/".join(top) or "." for top in tops[:4])
        raise CallerError(f"{source} holds more than one data set: {names}; add them one by one")
    return placed, [parts for parts in paths if parts not in placed]


def _place(parts: Parts, split: str, labels: Labels | None) -> Place | None:
    *above, name = parts
    person = ""
    if labels is not None and len(above) >= 2:
        outer, inner = above[-2:]
        cls, person = (inner, outer) if inner in labels and outer not in labels else (outer, inner)
        above[-2:] = [cls]
        name = f"{person}_{name}"
    elif labels is not None:
        return None
    if split:
        return Place(split, above[-1], name, person) if above else None
    if len(above) < 2 or above[-2].lower() not in SPLITS:
        return None
    return Place(above[-2].lower(), above[-1], name, person)


def _expected(split: str, labels: Labels | None) -> str:
    if labels is not None:
        return (f"expected {'' if split else 'SPLIT/'}CLASS/PERSON/picture or "
                f"{'' if split else 'SPLIT/'}PERSON/CLASS/picture")
    if split:
        return "expected a folder for each class with pictures in it"
    return (f"expected SPLIT/CLASS/picture with a split of {', '.join(SPLITS)}; for class folders "
            "only, use --split")


def _found(paths: Iterable[Parts]) -> str:
    seen = sorted({"/".join(parts[:-1]) or "pictures directly in it" for parts in paths})
    return ", ".join(seen[:6]) + (", …" if len(seen) > 6 else "") if seen else "no pictures"
