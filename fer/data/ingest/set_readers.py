"""Readers of data sets whose labels are in files beside the pictures.

Layouts as published, and as read by public code: RAF-DB's list (`EmoLabel/list_patition_label.txt`
with `Image/aligned`), AffectNet's arrays (`train_set/annotations/1_exp.npy` with `images`) and
lists (`training.csv`), the Extended Cohn-Kanade set, and Hugging Face's image folders.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.folders import file_head, item_of
from fer.data.ingest.known_sets import (
    AFFECTNET_ARRAYS,
    AFFECTNET_LISTS,
    CKPLUS,
    HUGGING_FACE,
    LIST_OF_RAFDB,
    RAFDB_LIST,
    KnownSet,
)
from fer.data.ingest.label_map import DROP, Labels
from fer.data.ingest.left_out import SYSTEM, LeftOut, is_system_file, no_picture
from fer.data.ingest.picture_table import read_rows
from fer.data.layout import SPLIT_NAMES, SPLITS
from fer.data.metadata import Facts
from fer.data.picture_format import format_of, picture_name
from fer.errors import CallerError, choices
from fer.json_io import parse_json

SETS = {"train_set": "train", "val_set": "val", "test_set": "eval"}  # folders of AffectNet
LABEL_COLUMNS = ("label", "expression", "emotion")


@dataclass(frozen=True)
class Source:
    """A folder that follows a known set.

    Attributes:
        folder: its path.
        files: all files below it, relative, sorted.
        labels: of its labels.
        split: of pictures whose split the set does not say.
        splits: folder or list in lower case -> split or `drop`.
        columns: our name of a column -> the source's.
    """

    folder: Path
    files: Sequence[Path]
    labels: Labels
    split: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def split_of(self, name: str, place: str, usual: Mapping[str, str] = SPLIT_NAMES) -> str:
        """Return the split that a name of the source means, or `drop`.

        Raises:
            CallerError: it is none.
        """
        found = self.splits.get(name.lower()) or usual.get(name.lower()) or self.split
        if not found:
            raise CallerError(f"{place}: '{name}' is no split; set --split to one of: "
                              f"{choices(SPLITS)}, or --splits {name or 'NAME'}=SPLIT")
        return found


@dataclass(frozen=True)
class Labelled:
    """One picture with what a set says of it."""

    path: Path
    split: str
    label: str
    place: str
    facts: Facts = field(default_factory=Facts)


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
        elif reason := no_picture(head, one.path.name, said):
            left_out.append(replace(reason, lost=True))
        else:
            name = picture_name(one.path.name, format_of(head, one.path.name))
            items.append(replace(item_of(one.path, one.split, cls, name), facts=one.facts))
    left_out += [_unused(source, file, known) for file in source.files
                 if source.folder / file not in seen]
    return Incoming(str(source.folder.absolute()), items, left_out=left_out)


def _unused(source: Source, file: Path, known: KnownSet) -> LeftOut:
    if is_system_file(file.parts):
        return LeftOut(str(file), SYSTEM)
    reason = no_picture(file_head(source.folder / file), file.name, str(file))
    if reason:
        return replace(reason, lost=False)
    # sequences of CK+ and the unaligned copies of RAF-DB have no labels of their own
    return LeftOut(str(file), f"without a label in {known.mark}",
                   lost=known not in (CKPLUS, RAFDB_LIST))


def _rafdb(source: Source) -> list[Labelled]:
    listing = _one(source, LIST_OF_RAFDB)
    by_name: dict[str, list[Path]] = {}
    for file in source.files:
        by_name.setdefault(file.name, []).append(file)
    found = []
    for line, text in enumerate(_text(source.folder / listing).splitlines(), 1):
        place, words = f"{listing}:{line}", text.split()
        if not words:
            continue
        if len(words) != 2:
            raise CallerError(f"{place}: expected a file name and a label, found '{text}'")
        stem, suffix = Path(words[0]).stem, Path(words[0]).suffix
        files = by_name.get(f"{stem}_aligned{suffix}") or by_name.get(words[0]) or []
        if len(files) != 1:
            problem = "no picture" if not files else f"{len(files)} pictures, such as {files[0]},"
            raise CallerError(f"{place}: {problem} for {words[0]} below {source.folder}")
        split = source.split_of(stem.partition("_")[0], place)
        found.append(Labelled(source.folder / files[0], split, words[1], place))
    return found


def _affectnet_arrays(source: Source) -> list[Labelled]:
    pictures = {(file.parent, file.stem): file for file in source.files
                if file.parent.name == "images"}
    found = []
    for file in source.files:
        if not file.name.endswith("_exp.npy"):
            continue
        number = file.name.removesuffix("_exp.npy")
        picture = pictures.get((file.parent.parent / "images", number))
        if picture is None:
            raise CallerError(f"{source.folder / file}: no picture "
                              f"{file.parent.parent / 'images' / number}.jpg")
        try:
            label = str(np.load(source.folder / file, allow_pickle=False).item())
        except (ValueError, OSError, EOFError):
            raise CallerError(f"{source.folder / file}: not an array of one label") from None
        split = source.split_of(file.parent.parent.name, str(file), {**SPLIT_NAMES, **SETS})
        found.append(Labelled(source.folder / picture, split, label, str(file)))
    return found


def _affectnet_lists(source: Source) -> list[Labelled]:
    usual = {"training": "train", "validation": "val"}
    by_end = {"/".join(file.parts[-2:]).lower(): file for file in source.files}
    found = []
    for listing in source.files:
        if listing.name.lower() not in ("training.csv", "validation.csv"):
            continue
        rows, columns = read_rows(source.folder / listing)
        if not {"subDirectory_filePath", "expression"} <= {*columns}:
            raise CallerError(f"{listing}: no columns subDirectory_filePath and expression; it "
                              f"has: {', '.join(columns)}")
        for line, row in enumerate(rows, 2):
            place = f"{listing}:{line}"
            file = by_end.get(row["subDirectory_filePath"].replace("\\", "/").lower())
            if file is None:
                raise CallerError(f"{place}: no picture {row['subDirectory_filePath']} below "
                                  f"{source.folder}")
            split = source.split_of(listing.stem, place, usual)
            found.append(Labelled(source.folder / file, split, row["expression"], place))
    return found


def _ckplus(source: Source) -> list[Labelled]:
    pictures = {file.stem.lower(): file for file in source.files
                if file.suffix.lower() in (".png", ".jpg", ".tiff")}
    found = []
    for file in source.files:
        match = re.fullmatch(r"((s\d{3})_\d{3}_\d{8})_emotion\.txt", file.name.lower())
        if not match:
            continue
        text = _text(source.folder / file).strip()
        if match[1] not in pictures:
            raise CallerError(f"{source.folder / file}: no picture {match[1]}.png")
        if not re.fullmatch(r"[0-7](\.0*)?(e\+?0+)?", text):
            raise CallerError(f"{source.folder / file}: expected a number from 0 to 7, found "
                              f"'{text[:20]}'")
        found.append(Labelled(source.folder / pictures[match[1]], source.split or "train", text[0],
                              str(file), Facts(identity=match[2].upper())))
    return found


def _hugging_face(source: Source) -> list[Labelled]:
    found = []
    for table in source.files:
        if table.name.lower() not in ("metadata.csv", "metadata.jsonl"):
            continue
        for line, row in _rows(source.folder / table):
            place = f"{table}:{line}"
            name = _cell(source, row, ("file_name", "file"), "file", place)
            path = source.folder / table.parent / name.replace("\\", "/")
            if not path.is_file():
                raise CallerError(f"{place}: no file {path}")
            said = str(row.get(source.columns.get("split", "split")) or "")
            inside = [*table.parent.parts, *Path(name).parts[:-1]]
            known = {**SPLIT_NAMES, **source.splits}
            folder = next((part for part in inside if part.lower() in known), "")
            identity, mask_type, pose, annotator = (
                str(row.get(source.columns.get(ours, ours)) or "")
                for ours in ("identity", "mask_type", "pose", "annotator"))
            facts = Facts(identity, mask_type, pose, annotator)
            label = _cell(source, row, LABEL_COLUMNS, "label", place)
            found.append(Labelled(path, source.split_of(said or folder, place), label, place,
                                  facts))
    return found


def is_hugging_face(folder: Path, files: Sequence[Path], columns: Mapping[str, str]) -> bool:
    """Return whether a `metadata.csv` or `.jsonl` labels pictures; else it describes folders."""
    for file in files:
        if file.name.lower() in ("metadata.csv", "metadata.jsonl"):
            head = _text(folder / file).partition("\n")[0]
            names = set(re.findall(r"\w+", head))
            if "file_name" in names and names & {*LABEL_COLUMNS, columns.get("label", "label")}:
                return True
    return False


def _cell(source: Source, row: Mapping[str, object], usual: Sequence[str], ours: str, place: str
          ) -> str:
    names = (source.columns[ours],) if ours in source.columns else usual
    there = [name for name in names if name in row]
    if len(there) != 1:
        problem = "no column" if not there else "more than one column"
        raise CallerError(f"{place}: {problem} of {', '.join(names)} among {', '.join(row)}; "
                          f"--columns {ours}=NAME names it")
    return str(row[there[0]]).strip()


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield line and row of a CSV or of JSON lines."""
    if table.suffix.lower() == ".csv":
        yield from enumerate(read_rows(table)[0], 2)
    else:
        yield from enumerate(_json_lines(table), 1)


def _json_lines(file: Path) -> list[dict[str, object]]:
    rows = []
    for line, text in enumerate(_text(file).splitlines(), 1):
        try:
            row = parse_json(text)
        except ValueError as error:
            raise CallerError(f"{file}:{line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CallerError(f"{file}:{line}: not an object")
        rows.append(row)
    return rows


def _one(source: Source, pattern: str) -> Path:
    found = [file for file in source.files if re.fullmatch(pattern, file.name.lower())]
    if len(found) > 1:
        raise CallerError(f"{source.folder}: {found[0]} and {found[1]} are both lists of labels; "
                          "name the folder of one")
    return found[0]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CallerError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None


READERS: Mapping[KnownSet, Callable[[Source], list[Labelled]]] = {
    RAFDB_LIST: _rafdb, AFFECTNET_ARRAYS: _affectnet_arrays, AFFECTNET_LISTS: _affectnet_lists,
    CKPLUS: _ckplus, HUGGING_FACE: _hugging_face}
