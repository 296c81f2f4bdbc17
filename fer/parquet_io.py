"""Parquet files that somebody else may have written: typed columns, bounded before they are read.

A few bytes of a file can stand for gigabytes: rows that repeat one value, pages that decompress,
and names that a dictionary holds once.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from fer.plain_text import shortened
from fer.untrusted_io import NotRegular

MOST_VALUES = 20_000_000  # rows times columns
MOST_BYTES = 256_000_000  # of all columns, decompressed, and of all texts
FITS = {"string": types.is_string, "integer": types.is_integer, "float": types.is_floating,
        "binary": types.is_large_binary}


def read_columns(source: Path | BinaryIO, columns: Mapping[str, str], most: int = MOST_BYTES
                 ) -> pa.Table:
    """Return some columns of a Parquet file, none of them with empty cells.

    Args:
        columns: name -> `string`, `integer`, `float` or `binary`.
        most: bytes of all columns.

    Raises:
        FileNotFoundError: there is none.
        NotRegular: it is a folder, a FIFO or a device.
        ValueError: it is no such file, larger, or damaged.
    """
    try:
        texts = [name for name, kind in columns.items() if kind == "string"]
        file = open_parquet(source, texts, most)
        for name, kind in columns.items():
            if file.schema_arrow.names.count(name) != 1:
                raise ValueError(f"no column {name}, or two")
            if not FITS[kind](found := value_type(file.schema_arrow.field(name).type)):
                raise ValueError(f"a column {name} of {found}")
        table = read_bounded(file, list(columns), most)
    except (FileNotFoundError, NotRegular):
        raise
    except (pa.ArrowException, OSError, KeyError, IndexError, OverflowError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"not a readable Parquet file ({shortened(line)})") from None
    if any(column.null_count for column in table.columns):
        raise ValueError("empty cells")
    return table


def open_parquet(source: Path | BinaryIO, texts: Sequence[str], most: int = MOST_BYTES
                 ) -> pq.ParquetFile:
    """Open a Parquet file whose metadata promise no more than `MOST_VALUES` and `most` bytes.

    Args:
        texts: columns that are read as dictionaries, so that `read_bounded` can measure them.

    Raises:
        NotRegular: it is a folder, a FIFO or a device.
        ValueError: it is larger, or has no such column.
        OSError, pyarrow.ArrowException: it is damaged.
    """
    if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
        raise NotRegular(f"{source}: not a regular file")
    try:
        file = pq.ParquetFile(source, read_dictionary=list(texts), page_checksum_verification=True)
    except KeyError as error:
        raise ValueError(f"no column {os.fsdecode(error.args[0])}") from None
    facts = file.metadata
    if facts.num_rows * max(facts.num_columns, 1) > MOST_VALUES:
        raise ValueError(f"a table of {facts.num_rows:,} rows")
    # not the sizes of the columns: pyarrow 26 ends the process at one with damaged statistics
    if sum(facts.row_group(number).total_byte_size for number in range(facts.num_row_groups)
           ) > most:
        raise ValueError(f"more than {most:,} bytes")
    return file


def read_bounded(file: pq.ParquetFile, columns: Sequence[str] | None = None,
                 most: int = MOST_BYTES) -> pa.Table:
    """Return the table of a file with its texts as plain strings; a `ValueError` if too large."""
    table = file.read(columns=columns)
    texts = [place for place, one in enumerate(table.columns) if types.is_dictionary(one.type)]
    if sum(_bytes_of(table.column(place)) for place in texts) > most:
        raise ValueError(f"more than {most:,} bytes of text")
    for place in texts:
        plain = table.column(place).cast(table.column(place).type.value_type)
        table = table.set_column(place, table.column_names[place], plain)
    return table


def value_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values."""
    return kind.value_type if types.is_dictionary(kind) else kind


def _bytes_of(column: pa.ChunkedArray) -> int:
    """Return the bytes of the values that a dictionary column stands for."""
    return sum(pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)).as_py() or 0
               for chunk in column.chunks)
