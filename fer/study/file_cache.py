"""Cache of the contents of many small files; only changed files are read again.

A study of ten thousand runs has as many status files, and opening each takes longer than a stat
call. The cache is one Parquet file, which may be deleted at any time.
"""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from fer.atomic_io import replacing
from fer.study.disk_space import disk_refusal
from fer.untrusted_io import NotRegular, read_bytes

COLUMNS = {"path": "string", "inode": "integer", "time": "integer", "size": "integer",
           "text": "string"}
Stamp = tuple[int, int, int]  # inode (a replaced file has another), mtime in ns, size


class Texts:
    """Reader with a cache in `file`; call `save` after the last read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known = _load(file)
        self.changed = False

    def read(self, path: str) -> str | None:
        """Return a file's text; None if there is no regular file, or too large a one."""
        try:
            status = os.stat(path)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            entry = self.known.get(path)
            if entry is not None and entry[0] == stamp:
                return entry[1]
            text = read_bytes(path).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError, NotRegular, ValueError):
            return None
        except OSError as error:
            if error.errno != errno.ELOOP:  # a link to itself
                raise
            return None
        self.known[path] = (stamp, text)
        self.changed = True
        return text

    def changed_at(self, path: str) -> float:
        """Return the modification time of a file that was read, in seconds since 1970, else 0."""
        entry = self.known.get(path)
        return entry[0][1] / 1e9 if entry else 0.0

    def save(self, keep: Iterable[str]) -> None:
        """Write the cache, restricted to the files of `keep`, if it has changed."""
        if not self.changed:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        entries = [(path, *self.known[path][0], self.known[path][1])
                   for path in keep if path in self.known]
        columns = list(zip(*entries, strict=True)) or [()] * len(COLUMNS)
        table = pa.table(dict(zip(COLUMNS, map(list, columns), strict=True)))
        try:
            with replacing(self.file) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        except OSError as error:  # on a full disk the status must still be shown
            if disk_refusal(error) is None:
                raise


def _load(file: Path) -> dict[str, tuple[Stamp, str]]:
    """Return the cached entries; none if the file is missing or unreadable."""
    if not file.is_file():
        return {}
    from fer.parquet_io import read_columns

    try:
        columns = read_columns(file, COLUMNS).to_pydict()
    except (OSError, ValueError):
        return {}
    return {path: ((inode, time, size), text) for path, inode, time, size, text in zip(
        *(columns[name] for name in COLUMNS), strict=True)}
