"""Reader for tables of pictures: a CSV of file, label and further facts per picture.

Files are relative to the table's folder. A CSV that contains the pixels, like FER2013's, is read by
`fer.data.ingest.pixel_csv`.
"""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from fer.data.ingest.archive import sha256_of
from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.folders import item_of
from fer.data.ingest.label_map import Labels
from fer.data.ingest.left_out import LeftOut, no_picture
from fer.data.layout import SPLIT_NAMES, SPLITS
from fer.data.metadata import (
    ANNOTATIONS,
    FURTHER,
    ROW_NUMBERS,
    Facts,
    annotations_text,
    facts_of_row,
    read_annotations,
)
from fer.data.metadata import COLUMNS as FACTS
from fer.data.picture_format import HEAD, format_of, picture_name
from fer.errors import CallerError, choices
from fer.plain_text import shortened
from fer.untrusted_io import bounded_csv, written_text

LONGEST_CELL = 10_000_000  # characters: the pixels of a picture of 1,500 x 1,500
COLUMNS = ("file", "label", "split", *FACTS, *FURTHER)
ALIKE = 0.8  # similarity of a column's name to one of ours that is taken for a slip of the pen


def read_rows(file: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return the rows of a CSV and its column names, without blanks around them.

    Fields are separated by commas, or else by the semicolons or tabs of the header. A column of row
    numbers without a name, or with pandas' name for it, is left out.

    Raises:
        CallerError: no such file, not UTF-8, empty, a column name twice, or a row with more cells
            than columns.
    """
    try:
        text = written_text(file, "; save it as UTF-8")
    except FileNotFoundError:
        raise CallerError(f"no file {file}") from None
    header = text.partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in header), ",")
    reader = csv.DictReader(io.StringIO(text), restval="", delimiter=separator)
    with bounded_csv(file, reader, LONGEST_CELL):
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        rows = list(reader)
    if not rows:
        raise CallerError(f"{file}: no rows")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise CallerError(f"{file}: the column '{twice[0]}' is there twice; rename one")
    long = next((line for line, row in enumerate(rows, 2) if None in row), None)
    if long:
        raise CallerError(f"{file}:{long}: more cells than the {len(columns)} columns; a cell that "
                          f"contains '{separator}' must be in double quotes")
    return rows, tuple(name for name in columns if name not in ROW_NUMBERS)


def read_table(file: Path, labels: Labels, split: str = "",
               columns: Mapping[str, str] | None = None) -> Incoming:
    """Return the content of a table.

    Args:
        file: the CSV.
        labels: of its column `label`.
        split: of rows that name none.
        columns: our name -> the table's, for columns with other names, and further columns to
            keep; those that are not named and unknown are then ignored.

    Raises:
        CallerError: a missing or unknown column, an unknown label, a file that is missing, listed
            twice or not a picture, or a row without a split. Names the line.
    """
    rows, there = read_rows(file)
    if columns:
        rows, there = _renamed(file, rows, there, columns)
    missing = [name for name in ("file", "label") if name not in there]
    unknown = [name for name in there if name not in COLUMNS and name not in (columns or ())]
    if missing or unknown:
        problem = f"no column '{missing[0]}'" if missing else f"unknown column '{unknown[0]}'"
        raise CallerError(f"{file}: {problem} among {', '.join(there)}; columns are: "
                          f"{', '.join(COLUMNS)}; --columns file=NAME,label=NAME reads others, and "
                          "NAME=NAME keeps a further one")
    items: list[Item] = []
    left_out: list[LeftOut] = []
    seen: dict[Path, int] = {}
    for line, row in enumerate(rows, 2):
        item = _item(file, line, row, labels, split, seen)
        if item is not None:
            items.append(item)
        else:
            left_out.append(labels.left_out(row["label"], f"{row['file']} (line {line})"))
    return Incoming(str(file.absolute()), items, digest=sha256_of(file), left_out=left_out)


def _renamed(file: Path, rows: list[dict[str, str]], there: Sequence[str],
             columns: Mapping[str, str]) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """Return rows and column names under our names; columns that nobody named are left out."""
    absent = [name for name in columns.values() if name not in there]
    unknown = [name for name, theirs in columns.items()
               if name not in COLUMNS and (theirs in COLUMNS or not _is_further(name))]
    if absent or unknown:
        problem = (f"'{unknown[0]}' is none of ours: {', '.join(COLUMNS)}" if unknown else
                   f"{file} has no column '{absent[0]}'; it has: {', '.join(there)}")
        raise CallerError(f"--columns: {problem}")
    names = {**{name: name for name in there
                if name in COLUMNS and name not in columns.values()}, **columns}
    return [{ours: row[theirs] for ours, theirs in names.items()} for row in rows], tuple(names)


def _picture_file(folder: Path, name: str) -> Path:
    """Return the file that a table names, also with Windows separators or composed otherwise."""
    names = [name, name.replace("\\", "/")]
    names += [unicodedata.normalize(form, one) for one in names for form in ("NFC", "NFD")]
    try:
        return next((folder / one for one in names if (folder / one).is_file()), folder / name)
    except (OSError, ValueError) as error:  # too long, or with a NUL
        raise CallerError(f"{folder}: {shortened(name)!r} cannot be a file: {error}") from None


def _is_further(name: str) -> bool:
    """Return whether a name can be that of a further column, and is not one of ours misspelt."""
    return name.isidentifier() and not get_close_matches(
        name.lower(), COLUMNS, 1, ALIKE)


def _facts(row: Mapping[str, str], labels: Labels, place: str) -> Facts:
    """Return the facts of a row; what annotators said is translated as labels are."""
    facts = facts_of_row(row)
    more = dict(facts.more)
    if text := more.get(ANNOTATIONS):
        try:
            said = read_annotations(text)
        except ValueError as error:
            raise CallerError(f"{place}: {ANNOTATIONS}: {error}") from None
        classes = {name: labels.of(label, place) for name, label in said.items()}
        more[ANNOTATIONS] = annotations_text({name: cls for name, cls in classes.items() if cls})
    return replace(facts, more=tuple((name, value) for name, value in more.items() if value))


def _item(file: Path, line: int, row: dict[str, str], labels: Labels, split: str,
          seen: dict[Path, int]) -> Item | None:
    place, name = f"{file}:{line}", row["file"].strip()
    path = _picture_file(file.parent, name)
    if not name or not path.is_file():
        raise CallerError(f"{place}: no file {path}")
    with open(path, "rb") as opened:
        head = opened.read(HEAD)
    if reason := no_picture(head, path.name, name):
        raise CallerError(f"{place}: {name} is not a picture that can be read: {reason.reason}")
    if path in seen:
        raise CallerError(f"{place}: {name} is in line {seen[path]} too; remove one")
    seen[path] = line
    where = (row.get("split") or split).strip().lower()
    where = SPLIT_NAMES.get(where, where)
    if where not in SPLITS:
        problem = f"split '{where}' is not one of" if where else "no split; set --split to one of"
        raise CallerError(f"{place}: {problem}: {choices(SPLITS)}")
    cls = labels.of(row["label"], place)
    if cls is None:
        return None
    facts = _facts(row, labels, place)
    target = picture_name(path.name, format_of(head, path.name))
    return replace(item_of(path, where, cls, target, facts), said=f"{name} (line {line})")
