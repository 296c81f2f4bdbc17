"""A split as decoded pixels in one memory-mapped file, shared by all that train on a node.

This module opens packs and decides whether one must be built; `fer.data.pack_builder` builds.
Not for augmentation and batches (`fer.data.batches`).

A pack is a folder `<cache>/packs/<set>-<split>-<size>-<digest[:12]>/`:
`pixels.npy` uint8 (n, size, size, 3); `labels.npy` uint8 (n,); `uids.npy` uint64 (n,), a hash of
the sample id; `index.parquet`: sample_id, label, file, identity, pair_key; `meta.json`, written
last, so its presence means complete.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from fer.atomic_io import read_json, temporary_name
from fer.config.run import Data
from fer.data.digest import split_digest
from fer.data.splits import pictures_of
from fer.errors import CallerError
from fer.locks import open_lock

if TYPE_CHECKING:
    import pyarrow

PACK_VERSION = 1

Progress = Callable[[int, int], None]  # called with (pictures done, pictures in all)


class DamagedPack(ValueError):
    """A folder that is no complete pack of this version; building it anew mends it."""


@dataclass(frozen=True)
class Quarantined:
    """A picture that could not be used, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Pack:
    """The pictures of a split, ready to be gathered.

    Attributes:
        folder: where it lies.
        n: pictures in it, without the quarantined.
        size: height and width in pixels.
        digest: of the split, quarantined pictures included.
        classes: class names in the order of the labels.
        class_counts: pictures of each class.
        quarantine: the pictures left out.
        pixels: uint8 (n, size, size, 3), memory-mapped, RGB.
        labels: uint8 (n,), memory-mapped.
        uids: uint64 (n,), memory-mapped; what randomness of a sample is derived from.
        contents: name of an array -> its digest when it was built; packs of early versions have
            none.
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
        """Open a pack in constant time: its meta data and three memory maps.

        Raises:
            DamagedPack: incomplete, of another version, or files that don't fit each other.
        """
        try:
            meta = read_json(folder / "meta.json")
            if meta["version"] != PACK_VERSION:
                raise DamagedPack(f"{folder} has version {meta['version']}, not {PACK_VERSION}")
            n, size = int(meta["n"]), int(meta["size"])
            return Pack(
                folder, n, size, str(meta["digest"]), tuple(meta["classes"]),
                tuple(meta["class_counts"]), tuple(Quarantined(**q) for q in meta["quarantine"]),
                pixels=_map(folder / "pixels.npy", np.uint8, (n, size, size, 3)),
                labels=_map(folder / "labels.npy", np.uint8, (n,)),
                uids=_map(folder / "uids.npy", np.uint64, (n,)),
                contents=tuple(sorted(meta.get("contents", {}).items())),
            )
        except (FileNotFoundError, NotADirectoryError, EOFError, ValueError, KeyError,
                TypeError) as error:
            raise DamagedPack(f"{folder} is no usable pack: {error}") from error

    @property
    def intact(self) -> bool:
        """Whether pixels, labels and uids are those that were built: read whole, once a process."""
        return all(_digest_of_file(self.folder / f"{name}.npy", *_identity(self.folder, name))
                   == digest for name, digest in self.contents)

    def left_out(self, split: str) -> str:
        """Return a line that counts the quarantined pictures; empty where there are none."""
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
        import pyarrow.parquet  # slow to import, and training alone does not need it

        table = pyarrow.parquet.read_table(self.folder / "index.parquet")
        if table.num_rows != self.n:
            raise DamagedPack(f"{self.folder}/index.parquet has {table.num_rows} rows for {self.n}")
        return table


def ensure_pack(split: str, data: Data, root: Path, size: int, cache: Path,
                digest: str | None = None, progress: Progress | None = None,
                intact: bool = False) -> Pack:
    """Open the pack of a split, building it first where there is no good one.

    One process on a machine or file system builds, the others wait for it.

    Args:
        split: as in `lfw/train`.
        data: the configuration's data sets.
        root: folder below which relative set folders lie.
        size: height and width of the pack's pictures in pixels.
        cache: `$FER_CACHE`.
        digest: of the split where it is known already: an existing pack is then opened without
            a look at the pictures, in constant time.
        progress: called while building.
        intact: read a pack whole that is there, and build it anew if its content has changed.

    Raises:
        CallerError: what `pictures_of` and `build_pack` refuse, or the pictures on disk are not
            those of `digest`.
    """
    known = digest and _open_if_good(pack_folder(split, size, cache, digest), digest, intact)
    if known:
        return known
    pictures = pictures_of(split, data, root)
    actual = split_digest(pictures, cache)
    if digest and digest != actual:
        raise CallerError(f"the pictures of '{split}' are not those this was planned with (digest "
                          f"{actual[:12]} instead of {digest[:12]}); plan again")
    folder = pack_folder(split, size, cache, actual)
    pack = _open_if_good(folder, actual, intact)
    if pack:
        return pack
    from fer.data.pack_builder import build_pack  # Pillow is needed for building only

    with only_builder(folder):
        pack = _open_if_good(folder, actual, intact)  # by another process, while this one waited
        if pack:
            return pack
        set_aside(folder)
        return build_pack(pictures, data.classes, size, folder, actual, progress=progress)


def pack_folder(split: str, size: int, cache: Path, digest: str) -> Path:
    """Return where the pack of a split with this content lies."""
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
    """Return the digest of an array's file, read once as long as it is the same file."""
    return digest_of(np.load(path, mmap_mode="r", allow_pickle=False))


def _map(path: Path, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.dtype != dtype or mapped.shape != shape:
        raise DamagedPack(f"{path} holds {mapped.dtype} {mapped.shape}, not {shape}")
    return np.asarray(mapped)  # plain array on the same map: indexing it is several times faster


@contextmanager
def only_builder(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that dies with its process; what killed builders left behind is removed.

    Args:
        folder: or file, that is to be built.
        wait: until the lock is free; else it is yielded whether it is held.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = open_lock(folder.with_name(f".{folder.name}.lock"), content=False)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks: two may build the same, one is kept
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
    """Remove a damaged pack; processes that have it open keep their maps."""
    if folder.exists():
        grave = temporary_name(folder)
        os.rename(folder, grave)
        shutil.rmtree(grave)
