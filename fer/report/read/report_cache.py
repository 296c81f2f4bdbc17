"""A cache of the results, learning curves and predictions that a report has read.

A file is read again only if its stamp (inode, time, size) has changed. The cache is two Parquet
files beside the report, which may be deleted at any time; unreadable parts are rebuilt. Two
concurrent reports each write a whole cache, and the last one remains.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer.atomic_io import replacing
from fer.evaluate.predictions import DamagedFile, Predictions, read_predictions
from fer.study.disk_space import disk_refusal
from fer.study.file_cache import Stamp, Texts
from fer.untrusted_io import parse_json

COLUMNS = {"path": "string", "inode": "integer", "time": "integer", "size": "integer",
           "crowd": "string", "classes": "string", "logits": "binary"}
PICTURES = b"pictures"  # Parquet metadata key of the tables' images


@dataclass(frozen=True)
class Crowd:
    """The images of a predictions table, shared by the tables of many runs."""

    sample_ids: list[str]
    identities: list[str]
    labels: np.ndarray

    @property
    def key(self) -> str:
        """An order-dependent digest of all fields."""
        text = "\x1e".join("\x1f".join(map(str, column)) for column in (
            self.sample_ids, self.identities, self.labels.tolist()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Entry:
    """The cached content of one file; `fault` if it was damaged, in this process only."""

    stamp: Stamp
    fault: str
    crowd: str
    classes: str
    logits: bytes | memoryview


class ReportCache:
    """A read-through cache; call `save` when all has been read.

    Args:
        folder: the cache folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.texts = Texts(folder / "cache.results.parquet")
        self.file = folder / "cache.predictions.parquet"
        self._known: dict[str, _Entry] = {}
        self._crowds: dict[str, Crowd] = {}
        self._load()
        self._texts_used: dict[str, None] = {}
        self._tables_used: dict[str, None] = {}
        self._changed = False

    def text(self, path: Path | str) -> str | None:
        """Return the text of a small file; None if it does not exist."""
        self._texts_used[str(path)] = None
        return self.texts.read(str(path))

    def table(self, path: Path) -> Predictions:
        """Return a predictions table; raises as `read_predictions`."""
        name = str(path)
        status = os.stat(path)
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        entry = self._known.get(name)
        if entry is None or entry.stamp != stamp:
            self._changed = True
            entry = self._known[name] = self._read(path, stamp)
        self._tables_used[name] = None
        if entry.fault:
            raise DamagedFile(entry.fault)
        try:
            return _table(entry, self._crowds)
        except (ValueError, KeyError, TypeError):  # somebody else wrote the cache
            self._changed = True
            entry = self._known[name] = self._read(path, stamp)
        if entry.fault:
            raise DamagedFile(entry.fault)
        return _table(entry, self._crowds)

    def save(self) -> None:
        """Write the entries that were used, if any are new; a full disk is ignored."""
        self.texts.save(self._texts_used)
        if not self._changed:
            return
        try:
            self._write()
        except OSError as error:
            if disk_refusal(error) is None:
                raise

    def _read(self, path: Path, stamp: Stamp) -> _Entry:
        try:
            table = read_predictions(path)
        except DamagedFile as error:
            return _Entry(stamp, str(error), "", "[]", b"")
        crowd = Crowd(table.sample_ids, table.identities, table.labels)
        key = crowd.key
        self._crowds.setdefault(key, crowd)
        return _Entry(stamp, "", key, json.dumps(table.classes), table.logits.tobytes())

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        used = {name: entry for name in self._tables_used
                if not (entry := self._known[name]).fault}  # the disk may recover
        entries = used.values()
        crowds = {key: [crowd.sample_ids, crowd.identities, crowd.labels.tolist()]
                  for key, crowd in self._crowds.items() if key in {e.crowd for e in entries}}
        table = pa.table({
            "path": list(used), **{name: [entry.stamp[place] for entry in entries]
                                   for place, name in enumerate(("inode", "time", "size"))},
            "crowd": [entry.crowd for entry in entries],
            "classes": [entry.classes for entry in entries],
            "logits": pa.array([bytes(entry.logits) for entry in entries], pa.large_binary())})
        table = table.replace_schema_metadata({PICTURES: json.dumps(crowds)})
        with replacing(self.file) as temporary:
            pq.write_table(table, temporary, compression="zstd", compression_level=1)

    def _load(self) -> None:
        """Fill the cache from its file; an absent or unreadable one leaves it empty."""
        if not self.file.is_file():
            return
        from fer.parquet_io import MOST_BYTES, read_columns

        try:
            # logits are noise, which compresses little
            most = max(MOST_BYTES, 4 * self.file.stat().st_size)
            table = read_columns(self.file, COLUMNS, most)
            crowds = parse_json(table.schema.metadata[PICTURES])
            columns: list[list[Any]] = [table[name].to_pylist() for name in (
                "path", "inode", "time", "size", "crowd", "classes")]
            logits = table["logits"].combine_chunks()
            known = {path: _Entry((inode, time, size), "", crowd, classes,
                                  memoryview(logits[row].as_buffer()))
                     for row, (path, inode, time, size, crowd, classes)
                     in enumerate(zip(*columns, strict=True))}
            found = {key: Crowd(texts(ids), texts(people), np.array(labels, np.int64))
                     for key, (ids, people, labels) in crowds.items()}
            if any(crowd.key != key for key, crowd in found.items()):
                return  # another run's table would be read with these labels
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return
        self._known, self._crowds = known, found


def texts(column: object) -> list[str]:
    """Return a list of texts; a `TypeError` if it is something else."""
    if not isinstance(column, list) or not all(type(one) is str for one in column):
        raise TypeError("not a list of texts")
    return column


def _table(entry: _Entry, crowds: Mapping[str, Crowd]) -> Predictions:
    """Return the table of an entry without a fault; raises if crowd and logits do not fit."""
    crowd, classes = crowds[entry.crowd], tuple(parse_json(entry.classes))
    logits = np.frombuffer(entry.logits, np.float32).reshape(-1, len(classes))
    return Predictions(crowd.sample_ids, crowd.identities, crowd.labels, logits, classes)
