"""The manifest of a checkpoint: which files it has, of which size and checksum."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fer.atomic_io import write_json
from fer.checksums import xxh3_of
from fer.errors import CallerError
from fer.untrusted_io import as_object, plain_name, read_json, read_object, record

WEIGHTS = "model.safetensors"


class Damaged(CallerError):
    """A checkpoint that is incomplete or does not match the checksums of its manifest."""


def verify(folder: Path) -> None:
    """Check a checkpoint against its manifest.

    Raises:
        Damaged: names the file and the problem.
    """
    for name, expected in read_manifest(folder).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != expected.bytes:
            raise Damaged(f"{path}: missing or truncated")
        if xxh3_of(path) != expected.xxh3:
            raise Damaged(f"{path}: its content has changed since it was written")


@dataclass(frozen=True)
class ListedFile:
    """A file that a manifest lists."""

    bytes: int
    xxh3: str


def read_manifest(folder: Path) -> dict[str, ListedFile]:
    """Return the files of a checkpoint by name, with the weights."""
    try:
        files = as_object(read_object(folder / "manifest.json")["files"], "files")
        if WEIGHTS not in files:
            raise ValueError(f"no {WEIGHTS}")
        return {plain_name(name): record(ListedFile, one) for name, one in files.items()}
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"{folder}: no readable manifest ({error})") from None


def seal(folder: Path) -> None:
    """Fsync every file and write the manifest, whose presence marks a complete checkpoint."""
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor(2) as pool:  # overlaps fsync with checksums
        synced = pool.map(_sync, paths)
        files = {path.name: {"bytes": path.stat().st_size, "xxh3": xxh3_of(path)}
                 for path in paths}
        list(synced)  # re-raises errors of fsync
    write_json(folder / "manifest.json", {"format": 1, "files": files}, durable=True)


def unlist(folder: Path, names: Iterable[str]) -> None:
    """Take files off the manifest of a checkpoint, before they are removed."""
    manifest = read_json(folder / "manifest.json")
    for name in names:
        manifest["files"].pop(name, None)
    write_json(folder / "manifest.json", manifest, durable=True)


def _sync(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())
