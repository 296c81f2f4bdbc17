"""Reading a bundle that may be damaged or hostile.

Nothing is unpacked to disk, no YAML or code of a bundle is read, and every size is bounded before
memory is taken: the list of files, each file as it is decompressed, and what a Parquet table grows
to. Names must be plain (`fer.report.bundle.manifest`), and every file must have the SHA-256 that
the index names.
"""

import hashlib
import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from fer.config.validate import validate
from fer.errors import CallerError
from fer.evaluate.predictions import LOGIT, DamagedFile, Predictions, parse_predictions
from fer.report.bundle.manifest import FILE, INDEX, RUN_FILE, Manifest
from fer.report.bundle.parquet_footer import SNAPPY, UNCOMPRESSED, compressions
from fer.untrusted_io import parse_json

MOST_FILE_BYTES = 64_000_000  # of one file, decompressed
MOST_LIST_BYTES = 32_000_000  # of the list of files
MOST_VALUES = 64_000_000  # rows x columns, and letters, of a table
TAIL = 22 + 65_535  # bytes: the end record of a ZIP, and its longest comment
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError,
                NotImplementedError, struct.error)


class Bundle:
    """An open bundle.

    Raises:
        CallerError: no bundle, a damaged one, or one beyond the limits above.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _check_list(path)
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise CallerError(f"--compare {path}: there is no such file") from None
        except _READ_ERRORS as error:
            raise self._wrong(f"not a bundle ({error})") from None
        self._names = self._checked_names()
        try:
            self.manifest = validate(Manifest, self._index(), INDEX)
        except CallerError as error:  # it names keys, which are a stranger's
            raise self._wrong(ascii(str(error))[1:-1][:500]) from None
        self._splits: dict[str, list[str]] = {}
        for name in sorted(self._names):
            match = RUN_FILE.fullmatch(name)
            if match and match[2] == "predictions" and (
                    f"runs/{match[1]}/results/{match[3]}.json" in self._names):
                self._splits.setdefault(match[1], []).append(match[3])

    def results(self, run: str) -> list[str]:
        """Return the test sets on which a run has predictions and results."""
        return self._splits.get(run, [])

    def json(self, name: str) -> dict[str, Any]:
        """Return a JSON object of the bundle; empty if there is no such file."""
        if name not in self._names:
            return {}
        try:
            content = parse_json(self.read(name))
        except (ValueError, RecursionError):
            raise self._wrong(f"{name} is not JSON") from None
        return content if isinstance(content, dict) else {}

    def predictions(self, run: str, split: str) -> Predictions:
        """Return the predictions of a run on a split, which must be there."""
        name = f"runs/{run}/predictions/{split}.parquet"
        content = self.read(name)
        try:
            _check_table(content)
            return parse_predictions(io.BytesIO(content), name)
        except DamagedFile as error:
            raise self._wrong(str(error)) from None

    def read(self, name: str) -> bytes:
        """Return the bytes of a file, which must be those that the index names."""
        content = self._read(name)
        expected = self.manifest.files.get(name)
        if expected is None or expected.sha256 != hashlib.sha256(content).hexdigest():
            raise self._wrong(f"{name} is not the file that {INDEX} names")
        return content

    def _index(self) -> Any:
        if INDEX not in self._names:
            raise self._wrong(f"not a bundle: has no {INDEX}")
        try:
            return parse_json(self._read(INDEX))
        except (ValueError, RecursionError):
            raise self._wrong(f"{INDEX} is not JSON") from None

    def _read(self, name: str) -> bytes:
        """Return the bytes of a file; the size that the archive claims is not believed."""
        try:
            with self._zip.open(self._names[name]) as stream:
                content = stream.read(MOST_FILE_BYTES + 1)
        except _READ_ERRORS as error:
            raise self._wrong(f"{name}: damaged ({error})") from None
        if len(content) > MOST_FILE_BYTES:
            raise self._wrong(f"{name}: more than {MOST_FILE_BYTES // 10 ** 6} MB")
        return content

    def _checked_names(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            if not FILE.fullmatch(entry.filename) or entry.is_dir():
                raise self._wrong(f"a file has the name {ascii(entry.filename)[:80]}")
            if entry.filename in found:
                raise self._wrong(f"{entry.filename} is there twice")
            found[entry.filename] = entry
        return found

    def _wrong(self, problem: str) -> CallerError:
        return CallerError(f"{self.path}: {problem}; no part of it was used")


def _check_list(path: Path) -> None:
    """Refuse a list of files that `zipfile` would take too much memory to read."""
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - TAIL))
        tail = stream.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or len(tail) < place + 22:
        raise ValueError("not a ZIP file")
    if b"PK\6\7" in tail[max(0, place - 20):place]:
        raise ValueError("a ZIP64, which no bundle is")
    size = struct.unpack_from("<I", tail, place + 12)[0]
    if size > MOST_LIST_BYTES:
        raise ValueError(f"a list of files of {size / 1e6:.0f} MB")


def _check_table(content: bytes) -> None:
    """Refuse a table that is not as `write_predictions` writes it, or grows too large in memory.

    Raises:
        DamagedFile: with the reason.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content), read_dictionary=["sample_id", "identity"],
                              page_checksum_verification=True)
        facts, schema = file.metadata, file.schema_arrow
        if not facts.num_rows:
            raise DamagedFile("a table without rows")
        if facts.num_rows * max(facts.num_columns, 1) > MOST_VALUES:
            raise DamagedFile(f"a table of {facts.num_rows} rows")
        for field in schema:
            kinds = ((pa.float32(),) if field.name.startswith(LOGIT) else
                     (pa.int64(),) if field.name in ("label", "predicted") else
                     (pa.string(), pa.dictionary(pa.int32(), pa.string())))
            if field.type not in kinds:
                raise DamagedFile(f"a table with a column {ascii(field.name)[:80]} of {field.type}")
        if not compressions(content) <= {UNCOMPRESSED, SNAPPY}:  # these grow by 21 times at most
            raise DamagedFile("a table that is compressed by something else than snappy")
        for column in file.read(columns=["sample_id", "identity"]).columns:
            longest = max((pc.max(pc.utf8_length(chunk.dictionary)).as_py() or 0
                           for chunk in column.chunks), default=0)
            if longest * facts.num_rows > MOST_VALUES:
                raise DamagedFile(f"a table with names of {longest} letters")
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, DamagedFile):
            raise
        raise DamagedFile(f"not a readable table ({str(error).splitlines()[0][:120]})") from error
