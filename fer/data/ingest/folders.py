"""Read a folder of pictures: split folders with class folders, or class folders only."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import Labels
from fer.data.ingest.places import place_all
from fer.data.layout import SUFFIXES


def read_folder(folder: Path, labels: Labels, split: str = "") -> Incoming:
    """Return what a folder brings; its own `pictures.csv` is not looked at (use `read_table`).

    Args:
        folder: split folders with class folders in them, possibly some levels down.
        labels: of the class folders.
        split: where pictures go if there are class folders only.

    Raises:
        CallerError: no pictures in class folders (says what was found), or an unknown class.
    """
    files = {path.relative_to(folder).parts: path for path in _pictures(folder)}
    placed, stray = place_all(list(files), split, str(folder))
    notes = []
    if stray:
        notes.append(f"{folder}: {len(stray)} pictures in no class folder left out, such as "
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
