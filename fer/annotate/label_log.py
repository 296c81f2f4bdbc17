"""The label log of one annotator: JSON lines, append-only, each on disk before it is confirmed.

A kill at any moment loses nothing that was confirmed: at worst the last line is incomplete, which
was never confirmed and is set aside. Nothing is ever overwritten: an undo is a line of its own.
"""

import errno
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path

from fer.atomic_io import sync_folder
from fer.data.faces.boxes import is_box
from fer.errors import CallerError
from fer.untrusted_io import NotRegular, parse_json, read_bytes

NOT_A_FACE, CANT_TELL, SKIP = "not_a_face", "cant_tell", "skip"
ANSWERS = (NOT_A_FACE, CANT_TELL, SKIP)
"""Answers that are no class."""


@dataclass(frozen=True)
class Record:
    """One line of a log.

    Attributes:
        number: increasing; the last one is the log's revision.
        round: name of the labelling round.
        picture: path relative to the folder of pictures; empty for an undo.
        showing: 1, or 2 where the picture is shown again for self-agreement.
        label: a class or one of `ANSWERS`; empty for an undo.
        mask_type, pose, tags: empty where not given.
        seconds: how long the picture was looked at.
        time: UTC, ISO 8601.
        undoes: number of the record that an undo takes back; 0 for a label.
        box: of the face: left, top, right, bottom in pixels of the picture after its EXIF turn;
            empty where boxes are not asked for.
    """

    number: int
    round: str
    picture: str = ""
    showing: int = 1
    label: str = ""
    mask_type: str = ""
    pose: str = ""
    tags: tuple[str, ...] = ()
    seconds: float = 0.0
    time: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(
        timespec="seconds"))
    undoes: int = 0
    box: tuple[float, ...] = ()


def read_log(path: Path) -> tuple[list[Record], bytes]:
    """Return the records of a log, and the bytes of an incomplete last line; both empty if new.

    Raises:
        CallerError: a line is damaged. Names it, and how to go on.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return [], b""
    except NotRegular as error:
        raise CallerError(str(error)) from None
    *lines, rest = content.split(b"\n")
    if _parse(rest) is not None:  # whole but for its end, which an editor took
        lines, rest = [*lines, rest], b""
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        record = _parse(line)
        if record is None or (records and record.number <= records[-1].number):
            raise CallerError(f"{path}:{number}: damaged line in a label log; restore the file "
                              "from a copy, or delete that line to go on without its label")
        records.append(record)
    return records, rest


def _parse(line: bytes) -> Record | None:
    try:
        content = parse_json(line)
        known = {one.name for one in fields(Record)}
        if not isinstance(content, dict) or content.keys() - known:
            return None
        content |= {name: tuple(content.get(name, ())) for name in ("tags", "box")}
        record = Record(**content)
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (record.round, record.picture, record.label, record.mask_type, record.pose, record.time,
             *record.tags)
    whole = all(type(one) is int for one in (record.number, record.showing, record.undoes))
    numbers = (record.seconds, *record.box)
    whole &= all(type(one) in (int, float) and math.isfinite(one) for one in numbers)
    whole = whole and (not record.box or is_box(record.box))
    return record if whole and all(isinstance(one, str) for one in texts) else None


class LabelLog:
    """The log of one annotator, for its one writer."""

    def __init__(self, path: Path) -> None:
        """Read the log; an incomplete last line is moved to a file `….cut` beside it.

        Raises:
            CallerError: as in `read_log`.
        """
        self.path = path
        self.records, rest = read_log(path)
        if rest:
            with open(path.with_name(f"{path.name}.cut"), "ab") as aside:
                aside.write(rest + b"\n")
            os.truncate(path, path.stat().st_size - len(rest))

    @property
    def revision(self) -> int:
        """The number of the last record; 0 for an empty log."""
        return self.records[-1].number if self.records else 0

    def append(self, record: Record) -> None:
        """Write a record and wait until it is on disk.

        Raises:
            OSError: it could not be written; the log is then as it was.
        """
        assert record.number > self.revision
        content = {name: value for name, value in asdict(record).items()
                   if value or name == "number"}
        line = json.dumps(content, ensure_ascii=False).encode() + b"\n"
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        try:
            size = os.fstat(handle).st_size
            if not size:  # before there is a line, so that a refusal leaves the log as it was
                _sync_entry(self.path)
            elif not self._ends_whole():
                line = b"\n" + line  # an editor took the end of the last line
            try:
                _write(handle, line)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)
        self.records.append(record)

    def _ends_whole(self) -> bool:
        with open(self.path, "rb") as handle:
            handle.seek(-1, os.SEEK_END)
            return handle.read() == b"\n"


def _sync_entry(path: Path) -> None:
    """Flush the folder of a new log, where its disk can."""
    try:
        sync_folder(path.parent)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _write(handle: int, line: bytes) -> None:
    while line:
        line = line[os.write(handle, line):]


def standing(records: Sequence[Record], round_name: str = "") -> list[Record]:
    """Return the labels that no undo has taken back, oldest first; of one round if it is named."""
    undone = {record.undoes for record in records if record.undoes}
    return [record for record in records if not record.undoes and record.number not in undone
            and (not round_name or record.round == round_name)]
