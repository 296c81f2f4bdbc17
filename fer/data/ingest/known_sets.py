"""Data sets of the field, recognised by names in their folders before anything is read.

Only names that belong to one set count (a list file, a pattern that all picture names follow),
never what folders of bare numbers might mean. Two sets in one source are refused.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer.data.ingest.label_map import Labels, names_of
from fer.data.layout import SPLIT_NAMES, SPLITS
from fer.data.metadata import Facts
from fer.data.people import normal_form
from fer.data.picture_format import SUFFIXES
from fer.errors import CallerError, choices
from fer.untrusted_io import written_text

Parts = tuple[str, ...]  # names of the folders and the file, relative to the source


@dataclass(frozen=True)
class KnownSet:
    """A layout of a data set.

    Attributes:
        name: of the set.
        mark: by what it is recognised.
        labels: its map in `configs/labels`; empty if it has none.
        people: as for `--people`; empty: by the usual rules.
        needs_files: whether labels are read from files beside the pictures, which must be unzipped.
    """

    name: str
    mark: str
    labels: str
    people: str = ""
    needs_files: bool = False


RAFDB_LIST = KnownSet("RAF-DB", "list_patition_label.txt", "rafdb", "unknown", True)
RAFDB_FOLDERS = KnownSet("RAF-DB", "train_NNNNN_aligned.jpg in folders 1 to 7", "rafdb", "unknown")
AFFECTNET_ARRAYS = KnownSet("AffectNet", "annotations/N_exp.npy", "affectnet", "unknown", True)
AFFECTNET_LISTS = KnownSet("AffectNet", "training.csv and validation.csv", "affectnet", "unknown",
                           True)
FER2013_FOLDERS = KnownSet("FER2013", "Training_N.jpg", "fer2013", "unknown")
FERPLUS = KnownSet("FERPlus", "fer2013new.csv", "ferplus", "unknown", True)
CKPLUS = KnownSet("CK+", "SNNN_NNN_NNNNNNNN_emotion.txt", "ckplus", "", True)
CKPLUS_FOLDERS = KnownSet("CK+", "SNNN_NNN_NNNNNNNN.png in class folders", "ckplus", r"^(S\d+)_")
HUGGING_FACE = KnownSet("a Hugging Face image folder", "metadata.csv", "", "", True)

# Names in lower case, of files whole, of pictures without the suffix.
LIST_OF_RAFDB = r"list_par?tition_label\.txt"  # its own spelling, and the usual one
PICTURE_OF_RAFDB = r"(train|test)_\d{5}(_aligned)?"
LABEL_OF_AFFECTNET = r"(\d+)_exp\.npy"
LIST_OF_AFFECTNET = r"(training|validation)\.csv"
PICTURE_OF_CKPLUS = r"(s\d{3})_\d{3}_\d{8}"
LABEL_OF_CKPLUS = rf"({PICTURE_OF_CKPLUS})_emotion\.txt"
TABLE_OF_HUGGING_FACE = r"metadata\.(csv|jsonl)"

_FILES: dict[str, KnownSet] = {
    LIST_OF_RAFDB: RAFDB_LIST, LABEL_OF_AFFECTNET: AFFECTNET_ARRAYS, r"fer2013new\.csv": FERPLUS,
    LABEL_OF_CKPLUS: CKPLUS, TABLE_OF_HUGGING_FACE: HUGGING_FACE}
"""Pattern of a file name -> the set to which it belongs."""

_PICTURES: dict[str, KnownSet] = {
    PICTURE_OF_RAFDB: RAFDB_FOLDERS, r"(training|publictest|privatetest)_\d+": FER2013_FOLDERS,
    PICTURE_OF_CKPLUS: CKPLUS_FOLDERS}
"""Pattern of all pictures' names -> the set."""


def recognise(paths: Sequence[Parts], source: str) -> KnownSet | None:
    """Return the data set that a source follows; None if it is none of the known ones.

    Args:
        paths: of all files, relative to the source.
        source: for messages.

    Raises:
        CallerError: it follows more than one.
    """
    found: dict[KnownSet, str] = {}
    pictures = []
    for parts in paths:
        name = parts[-1].lower()
        if name.endswith(SUFFIXES):
            pictures.append(parts)
        for pattern, known in _FILES.items():
            if known not in found and re.fullmatch(pattern, name):
                found[known] = "/".join(parts)
    found |= _lists(paths)
    if not found:
        return _by_pictures(pictures)
    if len(found) > 1:
        (one, first), (two, second) = list(found.items())[:2]
        raise CallerError(f"{source} holds {one.name} ({first}) and {two.name} ({second}): add "
                          "each from a folder of its own")
    return next(iter(found))


def _lists(paths: Sequence[Parts]) -> dict[KnownSet, str]:
    """Recognise AffectNet's lists, whose names are common: only beside its folder of pictures."""
    lists = [parts for parts in paths if re.fullmatch(LIST_OF_AFFECTNET, parts[-1].lower())]
    beside = any(part.lower().startswith("manually_annotated") for parts in paths for part in parts)
    return {AFFECTNET_LISTS: "/".join(lists[0])} if lists and beside else {}


def _by_pictures(pictures: Sequence[Parts]) -> KnownSet | None:
    stems = [parts[-1].lower().rpartition(".")[0] for parts in pictures]
    known = next((known for pattern, known in _PICTURES.items()
                  if stems and all(re.fullmatch(pattern, stem) for stem in stems)), None)
    if known is None:
        return None
    folders = {normal_form(parts[-2]) if len(parts) > 1 else "" for parts in pictures}
    return known if folders <= names_of(known.labels) else None


def said(known: KnownSet, source: str, labels: str, people: str) -> str:
    """Return the line that says as what a source is read."""
    how = [f"labels by {labels}" if labels else "labels are the classes' names"]
    if people:
        how.append(f"people: {people}")
    return f"{source}: read as {known.name} (by {known.mark}); {'; '.join(how)}"


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

    def named(self, pattern: str) -> Iterator[tuple[Path, re.Match[str]]]:
        """Yield the files whose names in lower case match a pattern, with the match."""
        for file in self.files:
            if match := re.fullmatch(pattern, file.name.lower()):
                yield file, match

    def text(self, file: Path) -> str:
        """Return the text of a file, relative or not.

        Raises:
            CallerError: it is not UTF-8.
        """
        return written_text(self.folder / file)

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
