"""What a split contains, as 32 hexadecimal digits that go into the run id.

Follows the pictures' contents, labels and names, not where they lie nor what the set is called.
Planning a study asks again and again, so each file's digest is remembered by size and time.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from xxhash import xxh3_128_hexdigest

from fer.atomic_io import write_json
from fer.data.layout import Picture, identity_of

READERS = 8  # threads; on a network file system the wait, not the hash, is what takes time
SETTLED_NS = 2_000_000_000  # a file changed later than this could change again at the same time

Known = dict[str, tuple[int, int, str]]  # file name -> size, mtime in ns, digest


def split_digest(pictures: Sequence[Picture], cache: Path | None = None) -> str:
    """Return the digest of a split: 32 hexadecimal digits.

    Args:
        pictures: the split, in any order.
        cache: `$FER_CACHE`; digests of files are remembered below its folder `digests`.
    """
    files = file_digests([picture.path for picture in pictures], cache)
    lines = sorted(f"{picture.relative}\0{picture.label}\0{files[picture.path]}{_said(picture)}"
                   for picture in pictures)
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _said(picture: Picture) -> str:
    """Return what joins the digest of a picture whose name does not say who is in it."""
    own = identity_of(os.path.basename(picture.relative))
    return "" if picture.identity == own else f"\0{picture.identity}"


def file_digests(paths: Sequence[Path], cache: Path | None = None) -> dict[Path, str]:
    """Return the xxh3-128 digest of each file; only new or changed files are read."""
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
    """Return what is remembered; nothing where the record is absent or damaged."""
    try:
        content = json.loads(record.read_bytes())
        return {str(name): (int(size), int(mtime), str(digest))
                for name, (size, mtime, digest) in content.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}
