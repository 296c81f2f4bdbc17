"""Content digest of a split: 32 hexadecimal digits that are part of the run id.

It depends on the pictures' contents, labels and names, not on their location or the name of the
set. File digests are cached by size and modification time, because planning needs them repeatedly.
"""

import os
import re
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from fer.atomic_io import write_json
from fer.data.layout import Picture
from fer.untrusted_io import NotRegular, read_object

READERS = 8  # threads; on a network file system latency dominates, not hashing
DIGEST = re.compile("[0-9a-f]{32}")
SETTLED_NS = 2_000_000_000  # a younger file could change again with the same mtime

Known = dict[str, tuple[int, int, str]]  # file name -> size, mtime in ns, digest


def split_digest(pictures: Sequence[Picture], cache: Path | None = None) -> str:
    """Return the digest of a split: 32 hexadecimal digits.

    Args:
        pictures: the split, in any order.
        cache: `$FER_CACHE`; digests of files are cached in its folder `digests`.
    """
    files = file_digests([picture.path for picture in pictures], cache)
    lines = sorted(f"{picture.relative}\0{picture.label}\0{files[picture.path]}{_person(picture)}"
                   for picture in pictures)
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _person(picture: Picture) -> str:
    """Return the identity as part of the digest, unless it is the file name without `_NNNN`.

    That was the rule when the first digests were made. An unknown person is part of the digest: an
    empty name.
    """
    own = re.sub(r"_\d{4}$", "", os.path.splitext(os.path.basename(picture.relative))[0])
    return "" if picture.identity == own else f"\0{picture.identity}"


def file_digests(paths: Sequence[Path], cache: Path | None = None) -> dict[Path, str]:
    """Return the XXH3-128 digest of each file; only new or changed files are read."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    digests: dict[Path, str] = {}
    for folder, members in folders.items():
        digests.update(_folder_digests(folder, members, cache))
    return digests


def _folder_digests(folder: Path, paths: list[Path], cache: Path | None) -> dict[Path, str]:
    record = _record_path(folder, cache) if cache else None
    known = _read_known(record) if record else {}
    stamps = {path: _stamp(path) for path in paths}
    digests: dict[Path, str] = {}
    unknown: list[Path] = []
    for path, stamp in stamps.items():
        entry = known.get(path.name)
        if entry is not None and entry[:2] == stamp:
            digests[path] = entry[2]
        else:
            unknown.append(path)
    if unknown:
        with ThreadPoolExecutor(READERS) as pool:
            digests.update(zip(unknown, pool.map(_file_digest, unknown), strict=True))
        latest = time.time_ns() - SETTLED_NS
        settled = {path.name: (*stamps[path], digests[path])
                   for path in unknown if stamps[path][1] < latest}
        if record and settled:
            write_json(record, known | settled)
    return digests


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _file_digest(path: Path) -> str:
    return xxh3_128_hexdigest(path.read_bytes())


def _record_path(folder: Path, cache: Path) -> Path:
    name = blake2b(str(folder.resolve()).encode(), digest_size=16).hexdigest()
    return cache / "digests" / f"{name}.json"


def _read_known(record: Path) -> Known:
    """Return the cached digests that are whole; empty if the record is missing or damaged."""
    try:
        content = read_object(record)
    except (FileNotFoundError, NotRegular, ValueError):
        return {}
    found: Known = {}
    for name, entry in content.items():
        match entry:
            case [int(size), int(mtime), str(digest)] if DIGEST.fullmatch(digest):
                found[name] = size, mtime, digest
    return found
