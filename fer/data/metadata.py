"""Metadata of a data set: optional files `pictures.csv` and `dataset.json` at its top.

`dataset.json` says how the people of each split are known: `{"people": {"test": "unknown"}}`
(`fer.data.people`). `pictures.csv` has one row per picture with metadata. Columns: `file`
(split/class/name, as in sample ids, folders in any letter case), and any of `identity`,
`mask_type`, `pose`, `annotator`, `agreement`. Labels are given by the class folders. All other
columns are kept: reports divide the set by them. `annotations` has the label that each annotator
gave: `ada=positive;ben=neutral`. `left`, `top`, `right`, `bottom` are the box of the face.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from fer.atomic_io import write_json, write_text
from fer.data.people import RULES, People
from fer.errors import CallerError, choices
from fer.plain_text import csv_text, shortened
from fer.untrusted_io import NotRegular, bounded_csv, read_json, written_text

FILE = "pictures.csv"
INFO = "dataset.json"


@dataclass(frozen=True, slots=True)
class Facts:
    """The metadata of one picture; unknown values are empty.

    Attributes:
        identity: the person.
        mask_type: such as `cloth` or `below-nose`; the style of synthetic masks.
        pose: such as `frontal` or `left`.
        annotator: who labelled it.
        agreement: share of the votes for its label, such as `0.8`.
        more: name and value of each further column that has one.
    """

    identity: str = ""
    mask_type: str = ""
    pose: str = ""
    annotator: str = ""
    agreement: str = ""
    more: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        """Leave out what was added later: records of sets contain this text."""
        known = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "more"
                 and (one.name != "agreement" or self.agreement)}
        return f"Facts({', '.join(f'{name}={value!r}' for name, value in known.items())})"


COLUMNS = ("identity", "mask_type", "pose", "annotator", "agreement")
ANNOTATIONS, CERTAINTY = "annotations", "certainty"
EDGES = ("left", "top", "right", "bottom")  # of the face's box, in pixels of its picture
FURTHER = ("age", "gender", "skin_tone", "camera", "tags", CERTAINTY, ANNOTATIONS, *EDGES)
"""Further columns that a table may have without being told to keep them."""
ROW_NUMBERS = ("", "Unnamed: 0", "index")  # as pandas writes an index
NO_FACTS = ("file", "label", "split", *ROW_NUMBERS)


class _ByFile(Mapping[str, Facts]):
    """Facts by file; split and class are case-insensitive, like their folders, letters composed."""

    def __init__(self, facts: Mapping[str, Facts]) -> None:
        self._facts = facts
        self._names = {_any_case(file): file for file in facts}

    def __getitem__(self, file: str) -> Facts:
        found = self._facts.get(file)
        return self._facts[self._names[_any_case(file)]] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)


def _any_case(file: str) -> str:
    folder, slash, name = unicodedata.normalize("NFC", file).rpartition("/")
    return folder.lower() + slash + name


def read_facts(top: Path) -> Mapping[str, Facts]:
    """Return the facts by file of the set at `top`, the folder of the split folders.

    Raises:
        CallerError: the file cannot be read as a table with a column `file`.
    """
    file = top / FILE
    try:
        status = file.stat()
    except FileNotFoundError:
        return {}
    return _read(file, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read(file: Path, changed: int, size: int) -> Mapping[str, Facts]:
    rows = csv.DictReader(io.StringIO(written_text(file)))
    with bounded_csv(file, rows):
        if (rows.fieldnames or []).count("file") != 1:
            raise CallerError(f"{file}: no column 'file', or two; columns are file, "
                              f"{', '.join(COLUMNS)}")
        return _ByFile({row["file"]: facts_of_row(row) for row in rows
                        if isinstance(row["file"], str)})  # a row may be too short


def facts_of_row(row: Mapping[str, str | None]) -> Facts:
    """Return the facts in a row of a table; `row` is column -> value."""
    own = {name: value.strip() for name, value in row.items()  # a row may be too short or too long
           if isinstance(name, str) and isinstance(value, str)}
    more = tuple((name, value) for name, value in own.items()
                 if value and name not in (*COLUMNS, *NO_FACTS))
    return Facts(**{name: own.get(name, "") for name in COLUMNS}, more=more)


def annotations_text(labels: Mapping[str, str]) -> str:
    """Return the cell of the column `annotations`; `labels` are annotator -> label."""
    return ";".join(f"{name}={label}" for name, label in labels.items())


def read_annotations(text: str) -> dict[str, str]:
    """Return annotator -> label of a cell of the column `annotations`.

    Raises:
        ValueError: an entry that is not NAME=LABEL, or an annotator twice.
    """
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, label = (part.strip() for part in entry.partition("="))
        if not (name and equals and label) or name in found:
            raise ValueError(f"'{entry}' is not a NAME=LABEL, once for each annotator")
        found[name] = label
    return found


def write_facts(top: Path, facts: Mapping[str, Facts]) -> None:
    """Write the facts of a set, without empty columns."""
    used = [name for name in COLUMNS if any(getattr(one, name) for one in facts.values())]
    further = list(dict.fromkeys(name for _, one in sorted(facts.items()) for name, _ in one.more))
    if not used and not further:
        (top / FILE).unlink(missing_ok=True)
        return
    rows = []
    for file, one in sorted(facts.items()):
        more = dict(one.more)
        rows.append([file, *(getattr(one, name) for name in used),
                     *(more.get(name, "") for name in further)])
    write_text(top / FILE, csv_text(["file", *used, *further], rows, exact=True))


def read_people(top: Path) -> dict[str, People]:
    """Return how the people of each split are known, of the set at `top`; empty if nobody said.

    Raises:
        CallerError: the file is damaged or has an unknown key or rule.
    """
    file = top / INFO
    try:
        content = read_json(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise CallerError(f"{file}: not valid JSON ({error})") from None
    except NotRegular as error:
        raise CallerError(str(error)) from None
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, dict) or set(content) != {"people"}:
        raise CallerError(f'{file}: expected {{"people": {{SPLIT: RULE}}}}; rules are: '
                          f"{choices(RULES)}")
    wrong = [f"{split}: {rule}" for split, rule in people.items() if rule not in RULES]
    if wrong:
        raise CallerError(f"{file}: '{shortened(wrong[0])}' is no rule; rules are: "
                          f"{choices(RULES)}")
    return people


def write_people(top: Path, people: Mapping[str, People]) -> None:
    """Write how the people of each split of a set are known."""
    write_json(top / INFO, {"people": dict(sorted(people.items()))})
