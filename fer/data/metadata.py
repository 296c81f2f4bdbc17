"""Metadata of a data set's pictures: an optional `pictures.csv` at its top.

One row per picture with metadata. Columns: `file` (split/class/name, as in sample ids, folders in
any letter case), and any of `identity`, `mask_type`, `pose`, `annotator`. Labels are given by the
class folders.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from fer.atomic_io import write_text
from fer.errors import CallerError

FILE = "pictures.csv"


@dataclass(frozen=True, slots=True)
class Facts:
    """The metadata of one picture; unknown values are empty.

    Attributes:
        identity: the person.
        mask_type: such as `cloth` or `below-nose`; the style of synthetic masks.
        pose: such as `frontal` or `left`.
        annotator: who labelled it.
    """

    identity: str = ""
    mask_type: str = ""
    pose: str = ""
    annotator: str = ""


COLUMNS = tuple(field.name for field in fields(Facts))


class _ByFile(Mapping[str, Facts]):
    """Facts by file; split and class are case-insensitive, like their folders."""

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
    folder, slash, name = file.rpartition("/")
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
