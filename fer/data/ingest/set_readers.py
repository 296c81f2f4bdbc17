"""Readers of data sets whose labels are in files beside the pictures.

Layouts as published, and as read by public code: RAF-DB's list (`EmoLabel/list_patition_label.txt`
with `Image/aligned`), AffectNet's arrays (`train_set/annotations/1_exp.npy` with `images`) and
lists (`training.csv`), the Extended Cohn-Kanade set, and Hugging Face's image folders.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.folders import file_head, item_of
from fer.data.ingest.hugging_face import read_hugging_face
from fer.data.ingest.known_sets import (
    AFFECTNET_ARRAYS,
    AFFECTNET_LISTS,
    CKPLUS,
    HUGGING_FACE,
    LABEL_OF_AFFECTNET,
    LABEL_OF_CKPLUS,
    LIST_OF_AFFECTNET,
    LIST_OF_RAFDB,
    PICTURE_OF_CKPLUS,
    PICTURE_OF_RAFDB,
    RAFDB_LIST,
    KnownSet,
    Labelled,
    Source,
)
from fer.data.ingest.label_map import DROP
from fer.data.ingest.left_out import SYSTEM, LeftOut, is_system_file, no_picture, no_text
from fer.data.ingest.picture_table import read_rows
from fer.data.layout import SPLIT_NAMES, is_picture
from fer.data.metadata import Facts
from fer.data.picture_format import format_of, picture_name
from fer.errors import CallerError

UNLABELLED = {RAFDB_LIST: PICTURE_OF_RAFDB, CKPLUS: PICTURE_OF_CKPLUS}
"""Pictures without labels that a set has by itself: unaligned copies, the other frames."""
SETS = {"train_set": "train", "val_set": "val", "test_set": "eval"}  # folders of AffectNet


def read_known(known: KnownSet, source: Source) -> Incoming:
    """Return the content of a folder that follows a known set.

    Raises:
        CallerError: a label without a picture, an unknown label or split, a picture labelled
            twice, or a damaged list. Names the file and the line.
    """
    labelled = READERS[known](source)
    items: list[Item] = []
    left_out: list[LeftOut] = []
    seen: dict[Path, str] = {}
    for one in labelled:
        said = str(one.path.relative_to(source.folder))
        if one.path in seen:
            raise CallerError(f"{one.place}: {said} is labelled in {seen[one.path]} too")
        seen[one.path] = one.place
        if one.split == DROP:
            left_out.append(LeftOut(said, "in a split that --splits drops"))
            continue
        cls = source.labels.of(one.label, one.place)
        folder = one.path.parent.name  # in AffectNet's lists its number has no meaning
        said_twice = folder in source.labels and known is not AFFECTNET_LISTS
        if said_twice and source.labels.of(folder, one.place) != cls:
            raise CallerError(f"{one.place}: label '{one.label}' of {said}, which is in the folder "
                              f"{folder}; keep the one that is right")
        head = file_head(one.path)
        if cls is None:
            left_out.append(source.labels.left_out(one.label, said))
        elif reason := no_picture(head, one.path.name, said) or no_text(one.path.name, said):
            left_out.append(replace(reason, lost=True))
        else:
            name = picture_name(one.path.name, format_of(head, one.path.name))
            items.append(item_of(one.path, one.split, cls, name, one.facts))
    left_out += [_unused(source, file, known) for file in source.files
                 if source.folder / file not in seen]
    return Incoming(str(source.folder.absolute()), items, left_out=left_out)


def _unused(source: Source, file: Path, known: KnownSet) -> LeftOut:
    if is_system_file(file.parts):
        return LeftOut(str(file), SYSTEM)
    reason = no_picture(file_head(source.folder / file), file.name, str(file))
    if reason:
        return replace(reason, lost=False)
    usual = known in UNLABELLED and re.fullmatch(UNLABELLED[known], file.stem.lower())
    return LeftOut(str(file), f"without a label in {known.mark}", lost=not usual)


def _by_name(source: Source, name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Return the pictures of each name, in lower case; copies may be in several folders."""
    found: dict[str, list[Path]] = {}
    for file in filter(lambda file: is_picture(file.name), source.files):
        found.setdefault(name(file).lower(), []).append(file)
    return found


def _one_picture(source: Source, found: Sequence[Path], name: str, place: str) -> Path:
    """Return the only picture that a label can mean.

    Raises:
        CallerError: there is none, or more than one.
    """
    if len(found) != 1:
        problem = "no picture" if not found else f"{len(found)} pictures, such as {found[0]},"
        raise CallerError(f"{place}: {problem} for {name} below {source.folder}")
    return source.folder / found[0]


def _rafdb(source: Source) -> list[Labelled]:
    listing = _one(source, LIST_OF_RAFDB)
    by_name = _by_name(source, lambda file: file.name)
    found = []
    for line, text in enumerate(source.text(listing).splitlines(), 1):
        place, words = f"{listing}:{line}", text.split()
        if not words:
            continue
        if len(words) != 2:
            raise CallerError(f"{place}: expected a file name and a label, found '{text}'")
        stem, suffix = os.path.splitext(words[0].lower())
        files = by_name.get(f"{stem}_aligned{suffix}") or by_name.get(words[0].lower()) or []
        picture = _one_picture(source, files, words[0], place)
        split = source.split_of(stem.partition("_")[0], place)
        found.append(Labelled(picture, split, words[1], place))
    return found


def _affectnet_arrays(source: Source) -> list[Labelled]:
    pictures = _by_name(source, lambda file: str(file.with_suffix("")))
    found = []
    for file, match in source.named(LABEL_OF_AFFECTNET):
        name = str(file.parent.parent / "images" / match[1])
        picture = _one_picture(source, pictures.get(name.lower(), []), f"{name}.jpg", str(file))
        try:
            label = str(np.load(source.folder / file, allow_pickle=False).item())
        except (ValueError, OSError, EOFError):
            raise CallerError(f"{source.folder / file}: not an array of one label") from None
        split = source.split_of(file.parent.parent.name, str(file), {**SPLIT_NAMES, **SETS})
        found.append(Labelled(picture, split, label, str(file)))
    return found


def _affectnet_lists(source: Source) -> list[Labelled]:
    usual = {"training": "train", "validation": "val"}
    by_end = _by_name(source, lambda file: "/".join(file.parts[-2:]))
    found = []
    for listing, _ in source.named(LIST_OF_AFFECTNET):
        rows, columns = read_rows(source.folder / listing)
        if not {"subDirectory_filePath", "expression"} <= {*columns}:
            raise CallerError(f"{listing}: no columns subDirectory_filePath and expression; it "
                              f"has: {', '.join(columns)}")
        for line, row in enumerate(rows, 2):
            place = f"{listing}:{line}"
            name = row["subDirectory_filePath"].replace("\\", "/")
            picture = _one_picture(source, by_end.get(name.lower(), []), name, place)
            split = source.split_of(listing.stem, place, usual)
            found.append(Labelled(picture, split, row["expression"], place))
    return found


def _ckplus(source: Source) -> list[Labelled]:
    pictures = _by_name(source, lambda file: file.stem)
    found = []
    for file, match in source.named(LABEL_OF_CKPLUS):
        text = source.text(file).strip()
        picture = _one_picture(source, pictures.get(match[1], []), f"{match[1]}.png", str(file))
        if not re.fullmatch(r"[0-7](\.0*)?(e\+?0+)?", text):
            raise CallerError(f"{source.folder / file}: expected a number from 0 to 7, found "
                              f"'{text[:20]}'")
        found.append(Labelled(picture, source.split or "train", text[0], str(file),
                              Facts(identity=match[2].upper())))
    return found


def _one(source: Source, pattern: str) -> Path:
    found = [file for file, _ in source.named(pattern)]
    if len(found) > 1:
        raise CallerError(f"{source.folder}: {found[0]} and {found[1]} are both lists of labels; "
                          "name the folder of one")
    return found[0]


READERS: Mapping[KnownSet, Callable[[Source], list[Labelled]]] = {
    RAFDB_LIST: _rafdb, AFFECTNET_ARRAYS: _affectnet_arrays, AFFECTNET_LISTS: _affectnet_lists,
    CKPLUS: _ckplus, HUGGING_FACE: read_hugging_face}
