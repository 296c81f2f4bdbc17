"""Reader for folders of pictures: split folders with class folders, or class folders only.

The same rules apply to the members of a zip: they use paths only and open no files.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import DROP, Labels
from fer.data.ingest.left_out import (
    OUTSIDE,
    SYSTEM,
    LeftOut,
    is_system_file,
    no_picture,
    no_text,
)
from fer.data.layout import SPLIT_NAMES, SPLITS
from fer.data.metadata import Facts
from fer.data.picture_format import HEAD, format_of, picture_name
from fer.errors import CallerError, choices, plural

Parts = tuple[str, ...]
NO_FACTS = Facts()
PART = 1 << 20  # bytes that are copied at once


class Place(NamedTuple):
    """Where a picture goes: split, label (the class folder's name), file name; its person if known.
    """

    split: str
    label: str
    name: str
    person: str = ""


@dataclass(frozen=True)
class Structure:
    """How the folders of a source are read.

    Attributes:
        split: of the pictures if there are class folders only; empty: the folder above the class
            folder is the split.
        splits: folder name in lower case -> split or `drop`, for folders with other names.
        people: labels of the classes if a folder above or below the class folder is a person.
    """

    split: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    people: Labels | None = None

    @property
    def depth(self) -> int:
        """Number of names in the path of a picture that are not above the data set."""
        return 2 + (not self.split) + (self.people is not None)


def read_folder(folder: Path, files: Iterable[Path], labels: Labels, how: Structure) -> Incoming:
    """Return the content of a folder; its own `pictures.csv` is ignored (use `read_table`).

    Args:
        folder: contains split folders with class folders, possibly some levels down.
        files: all files below it, relative.
        labels: of the class folders.
        how: how folders are read.

    Raises:
        CallerError: no pictures in class folders (lists what was found), an unknown class, an
            unknown split, or a file or folder that cannot be read.
    """
    pictures: dict[Parts, tuple[str, Path]] = {}  # format and file
    left_out: list[LeftOut] = []
    for file in files:
        path, parts = folder / file, file.parts
        if reason := _unreadable(path, parts):
            left_out.append(reason)
            continue
        head = file_head(path)
        if reason := no_picture(head, file.name, "/".join(parts)):
            left_out.append(reason)
        else:
            pictures[parts] = format_of(head, file.name), path
    placed, stray = place_all(list(pictures), how, str(folder))
    items = []
    for parts, place in placed.items():
        kind, path = pictures[parts]
        cls = labels.of(place.label, str(path.parent))
        if cls is None:
            left_out.append(labels.left_out(place.label, "/".join(parts)))
            continue
        if reason := no_text(place.name, "/".join(parts)):
            left_out.append(reason)
            continue
        name = picture_name(place.name, kind)
        facts = Facts(identity=place.person) if place.person else NO_FACTS
        items.append(item_of(path, place.split, cls, name, facts))
    return Incoming(str(folder.absolute()), items, left_out=[*left_out, *stray])


def item_of(path: Path, split: str, cls: str, name: str, facts: Facts = NO_FACTS) -> Item:
    """Return the item of a picture file."""
    said = str(path)
    return Item(split, cls, name, path.stat().st_size, said, partial(_copy, said), facts, path,
                path.read_bytes)


def _copy(source: str, target: str) -> None:
    """Copy a picture; `shutil.copyfile` takes twice the time for small files."""
    with open(source, "rb", buffering=0) as opened, open(target, "wb") as written:
        while part := opened.read(PART):
            written.write(part)


def _unreadable(path: Path, parts: Parts) -> LeftOut | None:
    said = "/".join(parts)
    if is_system_file(parts):
        return LeftOut(said, SYSTEM)
    if path.is_file():
        return None
    if not path.exists():
        return LeftOut(said, "links to nothing", lost=True)
    return LeftOut(said, "no files (a socket, a pipe or a device)")


def file_head(path: Path) -> bytes:
    """Return the first bytes of a file, which tell its format."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(HEAD)
    except OSError as error:
        raise CallerError(f"{path}: cannot be read: {error.strerror}") from None


def place_all(paths: Sequence[Parts], how: Structure, source: str
              ) -> tuple[dict[Parts, Place], list[LeftOut]]:
    """Return (path -> its place, the pictures outside class folders or in dropped splits).

    Args:
        paths: of pictures, relative to the source.
        how: how folders are read.
        source: for messages.

    Raises:
        CallerError: no picture is in a class folder, there is more than one data set, a folder
            beside the splits is none, or two folders are one split.
    """
    found = {parts: place for parts in paths if (place := _place(parts, how)) is not None}
    placed = {parts: place for parts, place in found.items() if place.split}
    if not placed:
        raise CallerError(f"{source}: {_expected(how)}; found: {_found(paths)}")
    tops = sorted({parts[:-how.depth] for parts in placed})
    if len(tops) > 1:
        names = ", ".join("/".join(top) or "." for top in tops[:4])
        hint = "" if how.people else ", or if these folders are people, --people folder"
        raise CallerError(f"{source} holds more than one data set: {names}; add them one by "
                          f"one{hint}")
    top = tops[0]
    stray = [parts for parts in paths if parts not in found]
    dropped = {parts: parts[-how.depth].lower() for parts in found if parts not in placed}
    dropped |= {parts: folder for parts in stray
                if how.splits.get(folder := _below(top, parts)) == DROP}
    lost = [parts for parts in stray if parts not in dropped]
    if not how.split:
        _refuse_other_splits(top, placed, lost, how, source)
    return placed, [
        *(LeftOut("/".join(parts), OUTSIDE, lost=True) for parts in lost),
        *(LeftOut("/".join(parts), f"in {folder}, which --splits drops")
          for parts, folder in dropped.items())]


def _below(top: Parts, parts: Parts) -> str:
    """Return the folder below `top` in which a file is, in lower case; empty if in none."""
    inside = parts[:len(top)] == top and len(parts) > len(top) + 1
    return parts[len(top)].lower() if inside else ""


def _refuse_other_splits(top: Parts, placed: Mapping[Parts, Place], lost: Sequence[Parts],
                         how: Structure, source: str) -> None:
    """Refuse to leave out a whole split, and two folders of one split."""
    taken = {_below(top, parts) for parts in placed}
    other = Counter(name for parts in lost if (name := _below(top, parts)) not in {"", *taken}
                    and (name in SPLIT_NAMES or len(parts) == len(top) + how.depth))
    if other:
        name, count = other.most_common(1)[0]
        problem = "has no class folders" if name in SPLIT_NAMES else "is no split"
        raise CallerError(f"{source}: the folder {name} with {plural(count, 'picture')} {problem} "
                          f"and would be left out; say what it is: --splits {name}=SPLIT with "
                          f"{choices(SPLITS)}, or --splits {name}=drop")
    names: dict[str, str] = {}
    for parts, place in placed.items():
        folder = _below(top, parts)
        before = names.setdefault(place.split, folder)
        if before != folder and not how.splits.keys() & {before, folder}:
            raise CallerError(f"{source}: the folders {before} and {folder} are both the split "
                              f"{place.split}; --splits {folder}=SPLIT says otherwise")


def _split_of(folder: str, how: Structure) -> str | None:
    """Return the split of a folder; None if it is none."""
    name = folder.lower()
    return how.splits.get(name) or SPLIT_NAMES.get(name)


def _place(parts: Parts, how: Structure) -> Place | None:
    """Return the place of a picture; its split is empty if it is dropped."""
    *above, name = parts
    person = ""
    if len(above) < how.depth - 1:
        return None
    if how.people is not None:
        outer, inner = above[-2:]
        below = inner not in how.people or outer in how.people  # the person, below the class
        cls, person = (outer, inner) if below else (inner, outer)
        above[-2:] = [cls]
        name = f"{person}_{name}"
    split = how.split or _split_of(above[-2], how)
    if split is None:
        return None
    return Place("" if split == DROP else split, above[-1], name, person)


def _expected(how: Structure) -> str:
    if how.people is not None:
        split = "" if how.split else "SPLIT/"
        return f"expected {split}CLASS/PERSON/picture or {split}PERSON/CLASS/picture"
    if how.split:
        return "expected a folder for each class with pictures in it"
    return (f"expected SPLIT/CLASS/picture with a split of {', '.join(SPLITS)}; for class folders "
            "only, use --split; --splits NAME=SPLIT for other names")


def _found(paths: Iterable[Parts]) -> str:
    seen = sorted({"/".join(parts[:-1]) or "pictures directly in it" for parts in paths})
    return ", ".join(seen[:6]) + (", …" if len(seen) > 6 else "") if seen else "no pictures"
