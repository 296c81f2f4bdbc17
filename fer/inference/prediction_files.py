"""Tables of predictions, written while they are made: CSV, JSON lines, Parquet."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from fer.atomic_io import replacing
from fer.errors import CallerError, choices
from fer.inference.prediction import Prediction
from fer.plain_text import spreadsheet_cell

Write = Callable[[Sequence[Prediction]], object]
NUMBER = "{:.9g}"  # digits that a float32 needs to come back


def csv_writer(handle: IO[str], columns: Sequence[str]) -> Write:
    """Write the header; return a function that writes and flushes rows."""
    table = csv.writer(handle, lineterminator="\n")
    table.writerow(columns)

    def write(found: Sequence[Prediction]) -> None:
        table.writerows([_text(row[name]) for name in columns]
                        for row in (one.row() for one in found))
        handle.flush()

    return write


@contextmanager
def prediction_files(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[Write]:
    """Yield a function that adds rows to all files; they are published when the block succeeds.

    Args:
        paths: as `check_outputs` found them.
        columns: of the tables.
    """
    with ExitStack() as stack:
        writers = [stack.enter_context(FORMATS[path.suffix.lower()](
            stack.enter_context(replacing(path)), columns)) for path in paths]

        def write(found: Sequence[Prediction]) -> None:
            for writer in writers:
                writer(found)

        yield write


def check_outputs(paths: Sequence[Path]) -> None:
    """Raise a CallerError if a file cannot be written: before the work, not after it."""
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise CallerError(f"{path}: no format '{path.suffix}'; there are: {choices(FORMATS)}")
        if path.is_dir():
            raise CallerError(f"{path}: is a folder; name a file")
        create_folder(path.parent)
    if len({path.resolve() for path in paths}) < len(paths):
        raise CallerError("--out: one file is named twice")


def create_folder(path: Path) -> None:
    """Create a folder for outputs; a CallerError if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CallerError(f"{path}: {error.strerror}") from None


@contextmanager
def _csv(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        yield csv_writer(handle, columns)


@contextmanager
def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    with open(path, "w", encoding="utf-8") as handle:
        yield lambda found: handle.writelines(
            json.dumps({name: row[name] for name in columns}, allow_nan=False) + "\n"
            for row in (one.row() for one in found))


@contextmanager
def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    words = ("file", "answer", "label", "reason")
    schema = pa.schema([(name, pa.string() if name in words else pa.float64())
                        for name in columns])
    with pq.ParquetWriter(path, schema) as table:
        yield partial(_add_rows, table, schema)


def _add_rows(table: Any, schema: Any, found: Sequence[Prediction]) -> None:
    import pyarrow as pa

    table.write_table(pa.Table.from_pylist([one.row() for one in found], schema=schema))


def _text(value: str | float | None) -> str:
    if isinstance(value, str):
        return spreadsheet_cell(value)
    return "" if value is None else NUMBER.format(value)


FORMATS = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
