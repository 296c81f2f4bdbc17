"""Layout of a data set on disk: folder / split / class / First_Last_0001.jpg.

Tolerates artefacts of unzipping (a nested top folder, `__MACOSX`, other letter case, stray files)
and refuses anything that would change labels silently. Pictures are opened in `fer.data.decode`;
the validation split is defined in `fer.data.splits`.
"""

import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.data.metadata import Facts, read_facts, read_people
from fer.data.people import People, follow_lfw, normal_form, pair_key_of, person_of
from fer.data.picture_format import SUFFIXES
from fer.errors import CallerError
from fer.plain_text import is_utf8, printable

SPLITS = ("train", "val", "eval", "test", "unmasked")
SPLIT_NAMES = {**{name: name for name in SPLITS}, "training": "train", "validation": "val",
               "valid": "val", "dev": "val", "evaluation": "eval", "testing": "test"}
"""Folder name in lower case -> split."""
SYSTEM = ("__macosx", "thumbs.db", "desktop.ini")
NESTING = 3  # maximum depth of the split folders below the given folder

NOTHING = Facts()


@dataclass(frozen=True, slots=True)
class Picture:
    """One labelled picture file.

    Attributes:
        set: name of the data set in the configuration, e.g. `lfw`.
        split: its split; `val` if it was split off the train folder.
        relative: split folder / class / file name, lower-case folders, POSIX.
        path: of the file.
        label: index of its class.
        identity: the person, by the rule of its split (`fer.data.people`); empty if unknown.
    """

    set: str
    split: str
    relative: str
    path: Path
    label: int
    identity: str

    @property
    def id(self) -> str:
        """The sample id in every table: `lfw/train/neutral/First_Last_0001.jpg`."""
        return f"{self.set}/{self.relative}"

    @property
    def pair_key(self) -> str:
        """The name shared by a picture and its masked copies."""
        return pair_key_of(os.path.basename(self.relative))

    @property
    def place(self) -> str:
        """The key shared by a picture and its masked copies within a family: folders and name."""
        return f"{os.path.dirname(self.relative)}/{self.pair_key}"

    @property
    def unit(self) -> str:
        """What stays together in splits: the person; if unknown, the picture with its copies."""
        return self.identity or f"picture:{self.place}"


def discover(folder: Path) -> Path:
    """Return the folder at or below `folder` that contains the split folders.

    Raises:
        CallerError: no such folder, no split folders within three levels, or more than one
            candidate at the same level.
    """
    if not folder.is_dir():
        raise CallerError(f"no folder {folder}")
    level = [folder]
    for _ in range(NESTING + 1):
        found = [place for place in level if split_folders(place)]
        if len(found) == 1:
            return found[0]
        if found:
            places = ", ".join(str(place.relative_to(folder)) for place in found)
            raise CallerError(f"{folder} holds more than one data set: {places}; name one of them")
        level = [place for above in level for place in _folders(above)]
    seen = ", ".join(place.name for place in _folders(folder)[:8]) or "no folders"
    raise CallerError(f"{folder} has none of the split folders {', '.join(SPLITS)} (each with one "
                      f"folder per class); found: {seen}")


def split_folders(top: Path) -> list[tuple[str, Path]]:
    """Return (split, folder) of the split folders directly in `top`, by any of their names.

    Raises:
        CallerError: two names of one split, such as `val` and `validation`.
    """
    found: list[tuple[str, Path]] = []
    names: dict[str, Path] = {}
    for place in _folders(top):
        name = place.name.lower()
        if split := SPLIT_NAMES.get(name):
            before = names.setdefault(split, place)
            if before.name.lower() != name:
                raise CallerError(f"{before} and {place} are both the split {split}; rename one")
            found.append((split, place))
    return found


def unread(top: Path) -> list[str]:
    """Return what a set in place contains besides pictures in split and class folders.

    Folders in `top` that are no split, and visible files in class folders that are no pictures by
    their suffix, relative to `top`.
    """
    splits = {place for _, place in split_folders(top)}
    found = [f"{place.name}/" for place in _folders(top) if place not in splits]
    for split in sorted(splits):
        for place in class_folders(split):
            with os.scandir(place) as entries:
                found += sorted(str(Path(entry.path).relative_to(top)) for entry in entries
                                if not is_picture(entry.name) and not is_system(entry.name))
    return found


def pictures_below(folder: Path) -> list[Path]:
    """Return the pictures of all splits and classes of the set at or below a folder.

    Raises:
        CallerError: as in `discover` and `picture_files`.
    """
    return [place / file for _, split in split_folders(discover(folder))
            for place in class_folders(split) for file in sorted(picture_files(folder.name, place))]


def class_folders(split_folder: Path) -> list[Path]:
    """Return the visible folders in a split folder, sorted."""
    return _folders(split_folder)


def scan(name: str, folder: Path, classes: tuple[str, ...]) -> dict[str, list[Picture]]:
    """Return the pictures of each split folder, sorted by relative path.

    Args:
        name: name of the data set, the first part of its sample ids.
        folder: where it was unzipped.
        classes: class names; their order gives the labels.

    Raises:
        CallerError: no such folder, no split folders, an unknown, missing or empty class folder,
            a folder inside a class folder, or two pictures with one id.
    """
    if not folder.is_dir():
        raise CallerError(f"data set '{name}': no folder {folder}; unzip it there, or set FER_DATA "
                          f"(the root of all data) or data.sets.{name}.folder")
    top = discover(folder)
    facts, people = read_facts(top), read_people(top)
    found: dict[str, list[_Found]] = {}
    for split, place in split_folders(top):
        found.setdefault(split, []).extend(_scan_split(name, place, classes))
    return {split: _pictures(name, split, files, classes, facts, people.get(split))
            for split, files in found.items()}


_Found = tuple[int, Path]  # label, file


def _scan_split(name: str, folder: Path, classes: tuple[str, ...]) -> list[_Found]:
    labels = {normal_form(cls): label for label, cls in enumerate(classes)}
    found: list[_Found] = []
    for place in class_folders(folder):
        label = labels.get(normal_form(place.name))
        if label is None:
            raise CallerError(f"data set '{name}': {place} is not a class; data.classes are: "
                              f"{', '.join(classes)}")
        found += [(label, place / file) for file in picture_files(name, place)]
    seen = {label for label, _ in found}
    missing = [cls for label, cls in enumerate(classes) if label not in seen]
    if missing:
        raise CallerError(f"data set '{name}': {folder} has no pictures of {', '.join(missing)}; "
                          f"one folder for each of {', '.join(classes)} with {'/'.join(SUFFIXES)} "
                          "files is needed")
    return found


def _pictures(name: str, split: str, found: Sequence[_Found], classes: tuple[str, ...],
              facts: Mapping[str, Facts], rule: People | None) -> list[Picture]:
    """Return the pictures of a split, sorted, with their people by its rule or by judgement."""
    files = {f"{split}/{classes[label]}/{path.name}": (label, path) for label, path in found}
    if len(files) < len(found):
        _refuse_twice(name, split, found, classes)
    named = {relative: unicodedata.normalize("NFC", facts.get(relative, NOTHING).identity)
             for relative in files}
    rule = rule or judge_people((path.name for _, path in found), len(classes), named.values())
    if rule == "unknown":
        named = dict.fromkeys(named, "")
    elif rule == "names":
        named = {relative: who or person_of(relative.rpartition("/")[2])
                 for relative, who in named.items()}
    return [Picture(name, split, relative, path, label, named[relative])
            for relative, (label, path) in sorted(files.items())]


def judge_people(files: Iterable[str], classes: int, named: Iterable[str]) -> People:
    """Return how people are known in a split that no one has said it of.

    Args:
        files: names of its pictures.
        classes: number of classes.
        named: identities in its table; empty where it has none.
    """
    if follow_lfw(files, classes):
        return "names"
    return "table" if any(named) else "unknown"


def picture_files(name: str, folder: Path) -> list[str]:
    """Return the names of the pictures in a class folder of the data set `name`, unordered.

    Raises:
        CallerError: it contains a folder, or a picture whose name is not UTF-8.
    """
    files = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_system(entry.name):
                continue
            if _is_folder(entry):
                raise CallerError(f"data set '{name}': {entry.path} is a folder inside a class "
                                  "folder; pictures must be directly in their class folder")
            if is_picture(entry.name):
                if not is_utf8(entry.name):  # no table could name it
                    raise CallerError(f"data set '{name}': the name {printable(entry.path)} is not "
                                      "UTF-8; rename the file")
                files.append(entry.name)
    return files


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise CallerError(f"{entry.path}: {error.strerror}") from None


def is_picture(name: str) -> bool:
    """Return whether a file name has the suffix of a picture."""
    return name.lower().endswith(SUFFIXES)


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or was written by an operating system."""
    return name.startswith(".") or name.lower() in SYSTEM


def _refuse_twice(name: str, split: str, found: Sequence[_Found], classes: tuple[str, ...]
                  ) -> None:
    """Refuse two pictures with one id, in folders that differ in letter case only."""
    seen: dict[tuple[int, str], Path] = {}
    for label, path in found:
        before = seen.setdefault((label, path.name), path)
        if before is not path:
            raise CallerError(f"two pictures have the id {name}/{split}/{classes[label]}/"
                              f"{path.name}: {before} and {path}; remove one")


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted by name, except hidden ones and `__MACOSX`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries
                 if not is_system(entry.name) and _is_folder(entry)]
    return [folder / name for name in sorted(names)]
