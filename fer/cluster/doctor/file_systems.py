"""Checks of file systems (space, rename, fsync, locks, speed) and of a study's files.

Compute nodes are often offline, so weights and data must exist before jobs start.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from fer.cluster.doctor.finding import Finding, failure, ok, warning
from fer.cluster.request import expand_request
from fer.config.paths import cache
from fer.config.study import Study
from fer.console import Terminal
from fer.data.pack import DamagedPack, Pack, pack_folder
from fer.errors import CallerError, plural
from fer.locks import lock_refusal
from fer.study.inputs import packs_of

LITTLE_ROOM = 5e9  # bytes; a few checkpoints of a full-size backbone
FEW_FILES = 20_000
PROBE_BYTES = 64_000_000
SLOW_WRITE, SLOW_FSYNC = 30e6, 0.2  # bytes a second, seconds


def check_disk(name: str, folder: Path) -> Iterator[Finding]:
    """Yield findings on the file system of a folder.

    Args:
        name: environment variable that sets the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".doctor-{os.getpid()}"
        probe.mkdir()
    except OSError as error:
        yield failure(name, f"{folder}: {error.strerror}", f"export {name}=/a/folder/to/write")
        return
    try:
        yield _room(name, folder)
        yield _rename(name, probe)
        yield _locks(name, probe)
        yield _speed(name, probe)
    except OSError as error:
        yield failure(name, f"{folder}: {error.strerror}", f"free some space, or export {name}=...")
    finally:
        shutil.rmtree(probe, ignore_errors=True)


def _room(name: str, folder: Path) -> Finding:
    status = os.statvfs(folder)
    free, files = status.f_bavail * status.f_frsize, status.f_favail
    found = f"{folder}: {free / 1e9:.1f} GB free"
    if status.f_files and files < FEW_FILES:
        return warning(name, f"{found}, but room for only {files} more files",
                       "remove files, or use another file system; launch/sweep.py --dry-run shows "
                       "how many a study creates")
    if free < LITTLE_ROOM:
        return warning(name, found, "a checkpoint of a full-size backbone takes 0.3 to 2 GB; "
                       "launch/sweep.py --dry-run shows what a study needs")
    return ok(name, found)


def _rename(name: str, probe: Path) -> Finding:
    """Check that a file can be replaced atomically and a folder flushed to disk."""
    for content in ("old", "new"):
        (probe / "part").write_text(content)
        os.replace(probe / "part", probe / "whole")
    handle = os.open(probe, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    if (probe / "whole").read_text() != "new":
        return failure(f"{name} rename", "a renamed file shows its old content",
                       f"export {name}=/another/file/system")
    return ok(f"{name} rename", "atomic, and fsync of a folder works")


def _locks(name: str, probe: Path) -> Finding:
    if reason := lock_refusal(probe):
        return failure(f"{name} locks", reason, f"export {name}=/another/file/system")
    return ok(f"{name} locks", "flock works")


def _speed(name: str, probe: Path) -> Finding:
    block = os.urandom(1 << 20)
    begun = time.perf_counter()
    with open(probe / "data", "wb") as handle:
        for _ in range(PROBE_BYTES >> 20):
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
        # drop the page cache, so that the read is from disk
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    write = PROBE_BYTES / (time.perf_counter() - begun)
    begun = time.perf_counter()
    with open(probe / "small", "wb") as handle:
        handle.write(b"x")
        handle.flush()
        os.fsync(handle.fileno())
    sync = time.perf_counter() - begun
    begun = time.perf_counter()
    with open(probe / "data", "rb") as handle:
        while handle.read(1 << 20):
            pass
    read = PROBE_BYTES / (time.perf_counter() - begun)
    found = (f"writes {write / 1e6:.0f} MB/s with fsync, reads {read / 1e6:.0f} MB/s, "
             f"{sync * 1e3:.1f} ms to fsync a small file")
    if write < SLOW_WRITE or sync > SLOW_FSYNC:
        return warning(f"{name} speed", found, "choose a faster file system (scratch), or save "
                       "less often: keep.every_minutes")
    return ok(f"{name} speed", found)


def check_study(study: Study) -> Iterator[Finding]:
    """Yield whether a study's images, weights and packs exist."""
    try:
        work = expand_request(study, Terminal(quiet=True))
    except CallerError as error:
        first, *rest = str(error).splitlines()
        yield failure(f"study {study.study}", first, "; ".join(rest))
        return
    yield ok(f"study {study.study}", f"{plural(len(work.runs), 'run')}; configurations, images and "
                                     "weights found")
    missing = []
    packs = packs_of([run.config for run in work.runs], work.splits, work.data, work.contents)
    for split, _, size, digest in packs:
        try:
            Pack.open(pack_folder(split, size, cache(), digest))
        except DamagedPack:
            missing.append(f"{split} at {size} px")
    if missing:
        some = f"{', '.join(missing[:4])}{' …' if len(missing) > 4 else ''}"
        yield ok("packs", f"{len(missing)} of {len(packs)} not built: {some}; the first job "
                          "that needs one builds it")
    else:
        yield ok("packs", f"all {len(packs)} built")
