"""Metadata of a data set: optional files `pictures.csv` and `dataset.json` at its top.

`dataset.json` says how the people of each split are known: `{"people": {"test": "unknown"}}`
(`fer.data.people`). `pictures.csv` has one row per picture with metadata. Columns: `file`
(split/class/name, as in sample ids, folders in any letter case), and any of `identity`,
`mask_type`, `pose`, `annotator`, `agreement`. Labels are given by the class folders.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from fer.atomic_io import read_json, write_json, write_text
from fer.data.people import RULES, People
from fer.errors import CallerError, choices

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
    """

    identity: str = ""
    mask_type: str = ""
    pose: str = ""
    annotator: str = ""
    agreement: str = ""

    def __repr__(self) -> str:
        """Leave out what was added later: records of sets contain this text."""
        known = {one.name: getattr(self, one.name) for one in fields(self)
                 if one.name != "agreement" or self.agreement}
        return f"Facts({', '.join(f'{name}={value!r}' for name, value in known.items())})"


COLUMNS = tuple(field.name for field in fields(Facts))


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
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CallerError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    rows = csv.DictReader(io.StringIO(text))
    if "file" not in (rows.fieldnames or ()):
        raise CallerError(f"{file}: no column 'file'; columns are file, {', '.join(COLUMNS)}")
    return _ByFile({row["file"]: Facts(*((row.get(name) or "").strip() for name in COLUMNS))
                    for row in rows})


def write_facts(top: Path, facts: Mapping[str, Facts]) -> None:
    """Write the facts of a set, without empty columns."""
    used = [name for name in COLUMNS if any(getattr(one, name) for one in facts.values())]
    if not used:
        (top / FILE).unlink(missing_ok=True)
        return
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["file", *used])
    for file, one in sorted(facts.items()):
        rows.writerow([file, *(getattr(one, name) for name in used)])
    write_text(top / FILE, out.getvalue())


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
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, dict) or set(content) != {"people"}:
        raise CallerError(f'{file}: expected {{"people": {{SPLIT: RULE}}}}; rules are: '
                          f"{choices(RULES)}")
    wrong = [f"{split}: {rule}" for split, rule in people.items() if rule not in RULES]
    if wrong:
        raise CallerError(f"{file}: '{wrong[0]}' is no rule; rules are: {choices(RULES)}")
    return people


def write_people(top: Path, people: Mapping[str, People]) -> None:
    """Write how the people of each split of a set are known."""
    write_json(top / INFO, {"people": dict(sorted(people.items()))})
