"""Packs: a split as decoded pixels in one memory-mapped file, shared by all processes on a node.

This module opens packs and decides whether one must be built; `fer.data.pack_builder` builds them.
Augmentation and batches are in `fer.data.batches`.

A pack is a folder `<cache>/packs/<set>-<split>-<size>-<digest[:12]>/`:
`pixels.npy` uint8 (n, size, size, 3); `labels.npy` uint8 (n,); `uids.npy` uint64 (n,), a hash of
the sample id; `index.parquet`: sample_id, label, file, identity, pair_key; `meta.json`, written
last, which marks a complete pack.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from fer.atomic_io import temporary_name
from fer.config.run import Data
from fer.data.array_file import map_array
from fer.data.digest import split_digest
from fer.data.people import people_warning
from fer.data.splits import pictures_of
from fer.errors import CallerError
from fer.locks import open_lock
from fer.plain_text import one_line
from fer.untrusted_io import NotRegular, read_json, record

if TYPE_CHECKING:
    import pyarrow

PACK_VERSION = 1
INDEX = {"sample_id": "string", "label": "integer", "file": "string", "identity": "string",
         "pair_key": "string"}
"""Columns of `index.parquet`."""

Progress = Callable[[int, int], None]  # called with (pictures done, total)


class DamagedPack(CallerError):
    """A folder that is not a complete pack of this version; rebuilding fixes it."""


@dataclass(frozen=True)
class Quarantined:
    """An unusable picture and the reason."""

    id: str
    reason: str


@dataclass(frozen=True)
class _Meta:
    """Content of `meta.json`; early versions have no `contents`."""

    version: int
    n: int
    size: int
    digest: str
    classes: list[str]
    class_counts: list[int]
    quarantine: list[dict[str, Any]]
    contents: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.contents.keys() <= {"pixels", "labels", "uids"}:
            raise ValueError("digests of other arrays")


@dataclass(frozen=True)
class Pack:
    """The decoded pictures of a split.

    Attributes:
        folder: of the pack.
        n: number of pictures, without the quarantined ones.
        size: height and width in pixels.
        digest: of the split, including quarantined pictures.
        classes: class names in the order of the labels.
        class_counts: pictures of each class.
        quarantine: the pictures left out.
        pixels: uint8 (n, size, size, 3), memory-mapped, RGB.
        labels: uint8 (n,), memory-mapped.
        uids: uint64 (n,), memory-mapped; seeds of per-sample randomness.
        contents: name of an array -> its digest at build time; empty in packs of early versions.
    """

    folder: Path
    n: int
    size: int
    digest: str
    classes: tuple[str, ...]
    class_counts: tuple[int, ...]
    quarantine: tuple[Quarantined, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    uids: NDArray[np.uint64]
    contents: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def open(folder: Path) -> "Pack":
        """Open a pack in constant time: its metadata and three memory maps.

        Raises:
            DamagedPack: incomplete, of another version, or inconsistent files.
        """
        try:
            meta = record(_Meta, read_json(folder / "meta.json"))
            if meta.version != PACK_VERSION:
                raise DamagedPack(f"{folder} has version {meta.version}, not {PACK_VERSION}")
            n, size = meta.n, meta.size
            return Pack(
                folder, n, size, meta.digest, tuple(meta.classes), tuple(meta.class_counts),
                tuple(record(Quarantined, one) for one in meta.quarantine),
                pixels=_map(folder / "pixels.npy", np.uint8, (n, size, size, 3)),
                labels=_map(folder / "labels.npy", np.uint8, (n,)),
                uids=_map(folder / "uids.npy", np.uint64, (n,)),
                contents=tuple(sorted(meta.contents.items())),
            )
        except (FileNotFoundError, NotADirectoryError, NotRegular, ValueError) as error:
            raise DamagedPack(f"{folder} is not a usable pack: {error}") from error

    @property
    def intact(self) -> bool:
        """Whether pixels, labels and uids have their original digests; read once per process."""
        return all(_digest_of_file(self.folder / f"{name}.npy", *_identity(self.folder, name))
                   == digest for name, digest in self.contents)

    def notes(self, split: str) -> list[str]:
        """Return what a user should know of a split: pictures left out, unknown people."""
        people = self.index().column("identity").to_pylist()
        return [line for line in (self.left_out(split), people_warning(split, people)) if line]

    def left_out(self, split: str) -> str:
        """Return a line that counts the quarantined pictures; empty if there are none."""
        if not self.quarantine:
            return ""
        first, count = self.quarantine[0], len(self.quarantine)
        return (f"{split}: {count} picture{'s' if count > 1 else ''} left out, such as {first.id}: "
                f"{first.reason} (all in {self.folder / 'meta.json'})")

    def index(self) -> "pyarrow.Table":
        """Read the table sample_id, label, file, identity, pair_key; row i is picture i."""
        return self._table

    @cached_property
    def _table(self) -> "pyarrow.Table":
        from fer.parquet_io import read_columns  # slow to import, not needed for training

        file = self.folder / "index.parquet"
        try:
            table = read_columns(file, INDEX)
            if table.num_rows != self.n:
                raise ValueError(f"{table.num_rows} rows for {self.n}")
        except (OSError, ValueError) as error:
            raise DamagedPack(f"{file} is damaged ({one_line(str(error))}); remove {self.folder}: "
                              "it is built again") from None
        return table


def ensure_pack(split: str, data: Data, root: Path, size: int, cache: Path,
                digest: str | None = None, progress: Progress | None = None,
                intact: bool = False) -> Pack:
    """Open the pack of a split; build it first if it is missing or damaged.

    One process per machine or file system builds; the others wait for it.

    Args:
        split: such as `lfw/train`.
        data: the configuration's data sets.
        root: base of relative set folders.
        size: height and width of the pack's pictures in pixels.
        cache: `$FER_CACHE`.
        digest: of the split, if known: an existing pack is then opened in constant time, without
            reading the pictures.
        progress: called while building.
        intact: verify the content of an existing pack, and rebuild it if it has changed.

    Raises:
        CallerError: as in `pictures_of` and `build_pack`, or the pictures on disk do not match
            `digest`.
    """
    known = digest and _open_if_good(pack_folder(split, size, cache, digest), digest, intact)
    if known:
        return known
    pictures = pictures_of(split, data, root)
    actual = split_digest(pictures, cache)
    if digest and digest != actual:
        raise CallerError(f"the pictures of '{split}' have changed since planning (digest "
                          f"{actual[:12]} instead of {digest[:12]}); plan again")
    folder = pack_folder(split, size, cache, actual)
    pack = _open_if_good(folder, actual, intact)
    if pack:
        return pack
    from fer.data.pack_builder import build_pack  # Pillow is only needed for building

    with only_builder(folder):
        pack = _open_if_good(folder, actual, intact)  # built by another process meanwhile
        if pack:
            return pack
        set_aside(folder)
        return build_pack(pictures, data.classes, size, folder, actual, progress=progress)


def pack_folder(split: str, size: int, cache: Path, digest: str) -> Path:
    """Return the folder of the pack of a split with this content."""
    return cache / "packs" / f"{split.replace('/', '-')}-{size}-{digest[:12]}"


def _open_if_good(folder: Path, digest: str, intact: bool) -> Pack | None:
    try:
        pack = Pack.open(folder)
    except DamagedPack:
        return None
    return pack if pack.digest == digest and (pack.intact or not intact) else None


def digest_of(array: NDArray[Any]) -> str:
    """Return the XXH3-128 of an array's bytes."""
    return xxhash.xxh3_128(array.reshape(-1).view(np.uint8).data).hexdigest()


def _identity(folder: Path, name: str) -> tuple[int, int, int]:
    status = (folder / f"{name}.npy").stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@cache
def _digest_of_file(path: Path, *identity: int) -> str:
    """Return the digest of an array's file, cached while the file is unchanged."""
    return digest_of(map_array(path))


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    mapped = map_array(path)
    if mapped.dtype != dtype or mapped.shape != shape:
        raise DamagedPack(f"{path} holds {mapped.dtype} {mapped.shape}, not {shape}")
    return np.asarray(mapped)  # a plain array on the same map is several times faster to index


@contextmanager
def only_builder(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that is released when the process dies; remove leftovers of killed builders.

    Args:
        folder: the folder or file to build.
        wait: wait for the lock; if False, yield whether it was acquired.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = open_lock(folder.with_name(f".{folder.name}.lock"), content=False)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # no locks on this file system: two may build, one result is kept
            yield True
            return
        for orphan in folder.parent.glob(f".{folder.name}.tmp-*"):
            if orphan.is_dir():
                shutil.rmtree(orphan, ignore_errors=True)
            else:
                orphan.unlink(missing_ok=True)
        yield True
    finally:
        os.close(handle)


def set_aside(folder: Path) -> None:
    """Remove a damaged pack; open memory maps stay valid."""
    if folder.exists():
        grave = temporary_name(folder)
        os.rename(folder, grave)
        shutil.rmtree(grave)
