"""Files that somebody else may have written: bounded bytes and text, typed JSON.

Every fault of a file is a `ValueError`, and every file that is no regular one (a FIFO would wait
for ever) an `OSError`, so that a reader says "damaged" and goes on.
"""

import csv
import errno
import json
import math
import os
import stat
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from fer.errors import CallerError
from fer.plain_text import has_controls

MAX_BYTES = 256_000_000
LONGEST_CELL = 131_072  # characters: what the module csv reads unless told
LONGEST_NAME = 255  # bytes, on Linux
EXACT = 2**53  # integers up to here are exact in every reader of JSON

Record = TypeVar("Record")


class NotRegular(OSError):
    """A file that is a folder, a FIFO, a device, a socket, or a link to itself."""


def read_bytes(path: Path | str, most: int = MAX_BYTES) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Raises:
        FileNotFoundError, PermissionError: as `open`.
        NotRegular: it is a folder, a FIFO, a device, a socket, or a link to itself.
        ValueError: it is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link to itself, a socket
            raise NotRegular(f"{path}: not a regular file") from None
        raise
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(f"{path}: not a regular file")
        if status.st_size > most:
            raise ValueError(f"{path}: more than {most:,} bytes")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def read_text(path: Path | str, most: int = MAX_BYTES) -> str:
    """Return the text of a regular file, in UTF-8 with or without its mark; as `read_bytes`."""
    return read_bytes(path, most).decode("utf-8-sig")


def written_text(path: Path, hint: str = "") -> str:
    """Return the text of a table that somebody wrote; as `read_text`, but in one line.

    Args:
        hint: what to do about a file that is not UTF-8; follows the message.

    Raises:
        FileNotFoundError: there is none.
        CallerError: it cannot be read, is no regular file, too large, or not UTF-8.
    """
    try:
        return read_text(path)
    except UnicodeDecodeError as error:
        raise CallerError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}){hint}"
                          ) from None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise CallerError(str(error)) from None


@contextmanager
def bounded_csv(path: Path, rows: "csv.DictReader[str]", longest: int = LONGEST_CELL
                ) -> Iterator[None]:
    """Read rows of a CSV with cells of at most `longest` characters.

    The module's own bound is one for the process, and other libraries lift it.

    Raises:
        CallerError: a longer cell, or another fault of a row; names file and line.
    """
    before = csv.field_size_limit(longest)
    try:
        yield
    except csv.Error as error:
        raise CallerError(f"{path}:{rows.line_num}: {error}") from None
    finally:
        csv.field_size_limit(before)


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON text; a `ValueError` if it is not valid or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; raises as `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path))


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; a `ValueError` if it is none, else as `read_json`."""
    return as_object(read_json(path), str(path))


def as_object(content: object, place: str) -> dict[str, Any]:
    """Return `content` if it is an object; raise a `ValueError` with `place` if not."""
    if not isinstance(content, dict):
        raise ValueError(f"{place}: not an object but {type(content).__name__}")
    return content


def plain_name(name: object) -> str:
    """Return a name of a file or folder; raise a `ValueError` if it leads elsewhere or is none."""
    if (not isinstance(name, str) or "/" in name or "\0" in name or name in ("", ".", "..")
            or len(os.fsencode(name)) > LONGEST_NAME or has_controls(name)):
        raise ValueError(f"{str(name)[:LONGEST_NAME]!r} is not the name of a folder")
    return name


def record(kind: type[Record], content: object) -> Record:
    """Return an object as a dataclass of `kind`; keys that it does not have are ignored.

    Raises:
        ValueError: it is no object, lacks a field without default, or a value has another type.
    """
    tests = _tests(typing.cast(Any, kind))
    if not isinstance(content, Mapping):
        raise ValueError(f"not an object but {type(content).__name__}")
    values = {name: content[name] for name in content.keys() & tests.keys()}
    wrong = next((name for name, value in values.items() if not tests[name](value)), None)
    if wrong is not None:
        raise ValueError(f"{wrong} has another type or size")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


@cache
def _tests(kind: Any) -> dict[str, Callable[[Any], bool]]:
    hints = typing.get_type_hints(kind)
    return {field.name: _test(hints[field.name]) for field in fields(kind)}


def _test(hint: Any) -> Callable[[Any], bool]:
    """Return a function that tells whether a value has a type."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        tests = [_test(part) for part in parts]
        return lambda value: any(test(value) for test in tests)
    if origin is typing.Literal:
        return lambda value: isinstance(value, str) and value in parts
    if origin is list:
        inner = _test(parts[0])
        return lambda value: isinstance(value, list) and all(map(inner, value))
    if origin is dict:
        name, inside = map(_test, parts)
        return lambda value: (isinstance(value, dict) and all(map(name, value))
                              and all(map(inside, value.values())))
    if hint is float:
        return lambda value: type(value) in (int, float) and math.isfinite(value)
    if hint is int:
        return lambda value: type(value) is int and abs(value) <= EXACT
    if hint is Any:
        return lambda value: True
    if hint in (str, bool, types.NoneType):
        return lambda value: type(value) is hint
    if is_dataclass(hint):  # read on its own before
        return lambda value: type(value) is hint
    raise TypeError(f"no test for {hint}")
