"""Atomic writes: a reader sees the old content or the new one, never a part of it.

For small files and for folders that become visible at once. Not for append-only files, which
are truncated on resume instead (`fer.train.run_logger`).
"""

import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
                    r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$")
_SafeDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's if available


class _Dumper(_SafeDumper):
    """Dumper that quotes strings that look like numbers, such as the run id `44e7700000`."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def temporary_name(path: Path) -> Path:
    """Return a name next to `path` that no other process on any node uses."""
    return path.with_name(f".{path.name}.tmp-{socket.gethostname()}-{os.getpid()}")


def sync_folder(folder: Path) -> None:
    """Flush `folder`, so that renames inside it survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` if the block succeeds, else remove it.

    Args:
        path: the file to publish; its folder is created if missing. Its mode is 0666 minus the
            umask, whatever the library that writes it sets.
        durable: fsync the file and its folder, for content that would be costly to lose.
    """
    with _publishing(path, durable) as (temporary, _):
        yield temporary


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Publish `text` in UTF-8; what that cannot hold (of file names) is escaped: `\\udc80`."""
    with (_publishing(path, durable) as (_, handle),
          open(handle, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as file):
        file.write(text)


@contextmanager
def _publishing(path: Path, durable: bool) -> Iterator[tuple[Path, int]]:
    """Yield a temporary path and the descriptor of the empty file created there.

    Links are not followed, since other users with write access to the folder could place one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.unlink(missing_ok=True)  # left by a dead process with the same pid
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            yield temporary, handle
            wanted, written = os.fstat(handle).st_mode, os.lstat(temporary).st_mode
        finally:
            os.close(handle)
        if stat.S_ISREG(written) and written != wanted:  # safetensors replaces the file
            os.chmod(temporary, stat.S_IMODE(wanted))
        if durable:
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def write_json(path: Path, content: Any, durable: bool = False) -> None:
    """Publish `content` as indented JSON; NaN raises, because other readers do not accept it."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n", durable)


def write_yaml(path: Path, content: Any, durable: bool = False) -> None:
    """Publish `content` as block-style YAML in the given key order."""
    write_text(path, yaml_text(content, default_flow_style=None, width=100), durable)


def yaml_text(content: Any, **style: Any) -> str:
    """Return `content` as YAML that round-trips, in the given key order."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, **style))


@contextmanager
def building_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` if the block succeeds.

    If another process has published `path` meanwhile, its folder stays and this one is removed:
    the content is a function of the name wherever this is used.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
