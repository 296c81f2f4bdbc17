"""Digests of whole files, and the SHA-256 file next to a weights file.

Not for the content of a data set (`fer.data.digest`).
"""

import hashlib
from pathlib import Path
from typing import Any

import xxhash

from fer.atomic_io import write_text
from fer.errors import CallerError

CHUNK = 1 << 22  # bytes


def xxh3_of(path: Path) -> str:
    """Return the XXH3-128 of a file, in hexadecimal: fast, but not cryptographic."""
    return _digest(path, xxhash.xxh3_128())


def sha_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the SHA-256 of a file, or its `sha1`, in hexadecimal."""
    return _digest(path, hashlib.new(algorithm))


def _digest(path: Path, state: Any) -> str:
    with open(path, "rb") as handle:
        while chunk := handle.read(CHUNK):
            state.update(chunk)
    return str(state.hexdigest())


def beside(path: Path) -> Path:
    """Return the path of a file's SHA-256 file, in the format of `sha256sum -c`."""
    return path.with_name(f"{path.name}.sha256")


def write_beside(path: Path, content: Path, found: str = "") -> None:
    """Write the SHA-256 file for `path`, whose content is still at `content`.

    Args:
        found: its SHA-256, if it is known.
    """
    write_text(beside(path), f"{found or sha_of(content)}  {path.name}\n")


def check_beside(path: Path) -> str:
    """Compare a file with its SHA-256 file, if both exist; return its SHA-256, else nothing.

    Raises:
        CallerError: they differ.
    """
    if not (path.is_file() and beside(path).is_file()):
        return ""
    expected, found = beside(path).read_text().split(" ")[0].strip(), sha_of(path)
    if found != expected:
        raise CallerError(f"{path}: its content has changed: its SHA-256 is {found[:16]}…, but "
                          f"{beside(path).name} has {expected[:16]}…; remove both and fetch it "
                          "again (launch/weights.py fetch), or remove the latter if the change was "
                          "intended")
    return found


def check_pinned(path: Path, sha256: str, found: str = "") -> None:
    """Compare a file with the SHA-256 that a study has for it.

    Args:
        found: the file's own, if it is known.

    Raises:
        CallerError: they differ.
    """
    if (found := found or sha_of(path)) != sha256:
        raise CallerError(f"{path}: its SHA-256 is {found[:16]}…, but the study pins "
                          f"{sha256[:16]}… (backbone.pretrained.sha256): another file; remove it "
                          "and fetch the pinned one (launch/weights.py fetch), or correct the pin")
