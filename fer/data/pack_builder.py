"""Building of packs: decode, resize and crop every picture of a split once, in several processes.

Unusable pictures are left out, listed with the reason, and never replaced. Finished chunks survive
a killed builder: they are in this machine's page cache, so they are valid until it reboots; on
another machine they are rebuilt. There is one builder at a time (`fer.data.pack.only_builder`).
Packs are opened in `fer.data.pack`, which also decides whether one must be built.
"""

import errno
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from fer.atomic_io import write_json
from fer.data.layout import Picture
from fer.data.pack import PACK_VERSION, Pack, Progress, digest_of
from fer.data.pack_rows import Failures, fill_rows
from fer.data.process_map import ProcessPool
from fer.data.stable_hash import text_word
from fer.errors import CallerError
from fer.machine import boot_id
from fer.untrusted_io import parse_json

MANY = 500  # pictures; for fewer, starting processes takes longer than decoding
CHUNK = 64  # pictures per task
MOST_WORKERS = 16  # more would wait for the disk
JOURNAL = "journal.jsonl"


class Unfinished:
    """The folder of an unfinished pack, with a journal of its finished chunks.

    Attributes:
        folder: of its files.
        done: first row of a chunk -> its unusable rows.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self.folder = folder
        self.done: dict[int, Failures] = {}
        self._journal = folder / JOURNAL
        first = {**plan, "boot": boot_id()}
        lines = self._lines()
        if not lines or lines[0] != first or lines[-1].get("closed"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self._add(first)
            return
        for line in lines[1:]:
            self.done[line["start"]] = {int(row): why for row, why in line["failed"].items()}

    def note(self, start: int, failed: Failures) -> None:
        """Record that a chunk is written."""
        self.done[start] = failed
        self._add({"start": start, "failed": failed})

    def close(self) -> None:
        """Record that rows will be moved: a builder killed after this must start again."""
        self._add({"closed": True})

    def _add(self, line: Mapping[str, Any]) -> None:
        with open(self._journal, "a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")

    def _lines(self) -> list[dict[str, Any]]:
        """Return the complete lines of the journal, without a truncated last one."""
        try:
            text = self._journal.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = text.split("\n")[:-1]
        return [parse_json(line) for line in lines]


@contextmanager
def unfinished(folder: Path, plan: Mapping[str, Any]) -> Iterator[Unfinished]:
    """Yield the unfinished pack; rename it to `folder` if the block succeeds.

    After an interrupt or kill it stays for the next builder; any error removes it.

    Args:
        plan: identifies the pack; an unfinished pack of another plan is removed.
    """
    place = folder.with_name(f".{folder.name}.unfinished")
    place.parent.mkdir(parents=True, exist_ok=True)
    pack = Unfinished(place, plan)
    try:
        yield pack
        (place / JOURNAL).unlink()
        try:
            os.rename(place, folder)
        except OSError:
            if not folder.is_dir():  # otherwise another builder published it (no file locks)
                raise
            shutil.rmtree(place, ignore_errors=True)
    except KeyboardInterrupt:
        raise
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def build_pack(pictures: Sequence[Picture], classes: tuple[str, ...], size: int, folder: Path,
               digest: str, workers: int | None = None, progress: Progress | None = None) -> Pack:
    """Build the pack of a split at `folder` and open it; leave nothing behind on failure.

    The finished chunks of a killed or interrupted builder are reused by the next one.

    Args:
        pictures: the split; the order is kept.
        classes: class names in the order of the labels.
        size: side in pixels: the shorter side is resized to it (bilinear with antialiasing, like
            torchvision's Resize of a PIL image), followed by a centre crop.
        folder: must not exist yet.
        digest: of the split.
        workers: number of processes; default: one per core for many pictures, else 1.
        progress: called with (done, total).

    Raises:
        CallerError: no pictures, a class without usable pictures, or a full disk.
    """
    if not pictures:
        raise CallerError(f"no pictures to pack into {folder.name}: the split is empty")
    workers = workers if workers is not None else _workers_for(len(pictures))
    try:
        plan = {"version": PACK_VERSION, "digest": digest, "n": len(pictures), "size": size}
        with unfinished(folder, plan) as pack:
            temporary = pack.folder
            failures = _write_pixels(pictures, size, pack, workers, progress)
            pack.close()
            good = [p for row, p in enumerate(pictures) if row not in failures]
            counts = _count_classes(good, pictures, classes, failures)
            _drop_rows(temporary / "pixels.npy", sorted(failures))
            _write_tables(good, temporary)
            quarantine = [{"id": pictures[row].id, "reason": failures[row]}
                          for row in sorted(failures)]
            write_json(temporary / "meta.json", {
                "version": PACK_VERSION, "n": len(good), "size": size, "digest": digest,
                "classes": list(classes), "class_counts": counts, "quarantine": quarantine,
                "contents": {name: digest_of(np.load(temporary / f"{name}.npy", mmap_mode="r"))
                             for name in ("pixels", "labels", "uids")}})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        need = len(pictures) * size * size * 3 / 1e6
        raise CallerError(f"no space left for {folder}, which needs {need:.0f} MB: free some "
                          "space or set FER_CACHE to another disk") from error
    return Pack.open(folder)


def _workers_for(pictures: int) -> int:
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS) if pictures >= MANY else 1


def _write_pixels(pictures: Sequence[Picture], size: int, pack: Unfinished, workers: int,
                  progress: Progress | None) -> Failures:
    """Write the missing rows of `pixels.npy`; return the rows of unusable pictures."""
    path = pack.folder / "pixels.npy"
    if not pack.done:
        open_memmap(path, "w+", np.uint8, (len(pictures), size, size, 3))
    with open(path, "r+b") as handle:  # a full disk must fail here; later it would kill the process
        os.posix_fallocate(handle.fileno(), 0, path.stat().st_size)
    paths = [picture.path for picture in pictures]
    chunks = [(path, start, paths[start : start + CHUNK])
              for start in range(0, len(paths), CHUNK) if start not in pack.done]
    done = len(paths) - sum(len(chunk) for _, _, chunk in chunks)
    for start, length, failed in _results(chunks, workers):
        pack.note(start, failed)
        done += length
        if progress:
            progress(done, len(pictures))
    return {row: reason for failed in pack.done.values() for row, reason in failed.items()}


def _results(chunks: list[tuple[Path, int, list[Path]]], workers: int
             ) -> Iterator[tuple[int, int, Failures]]:
    if workers <= 1:
        yield from map(fill_rows, chunks)
        return
    with ProcessPool(workers) as pool:
        tasks = [pool.submit(fill_rows, chunk) for chunk in chunks]
        try:
            for task in as_completed(tasks):
                yield task.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _drop_rows(path: Path, rows: list[int]) -> None:
    """Remove `rows` (sorted) from an npy file in place: move the others up, truncate the file."""
    if not rows:
        return
    pixels = np.load(path, mmap_mode="r+")
    n, write = len(pixels), rows[0]
    for read in sorted(set(range(rows[0], n)) - set(rows)):
        pixels[write] = pixels[read]
        write += 1
    row_bytes, data_offset = pixels[0].nbytes, pixels.offset
    pixels.flush()
    header = {"descr": "|u1", "fortran_order": False, "shape": (write, *pixels.shape[1:])}
    del pixels
    with open(path, "r+b") as handle:
        np.lib.format.write_array_header_1_0(handle, header)  # padded: the first length may change
        assert handle.tell() == data_offset
        handle.truncate(data_offset + write * row_bytes)


def _count_classes(good: list[Picture], pictures: Sequence[Picture], classes: tuple[str, ...],
                   failures: Failures) -> list[int]:
    counts = Counter(picture.label for picture in good)
    for label, cls in enumerate(classes):
        if not counts[label]:
            bad = next((row for row in sorted(failures) if pictures[row].label == label), None)
            example = f"; e.g. {pictures[bad].path}: {failures[bad]}" if bad is not None else ""
            raise CallerError(f"no usable picture of class '{cls}' in "
                              f"{pictures[0].set}/{pictures[0].split}{example}")
    return [counts[label] for label in range(len(classes))]


def _write_tables(pictures: list[Picture], folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    np.save(folder / "labels.npy", np.array([p.label for p in pictures], np.uint8))
    np.save(folder / "uids.npy", np.array([text_word(p.id) for p in pictures], np.uint64))
    table = pyarrow.table({
        "sample_id": [p.id for p in pictures],
        "label": np.array([p.label for p in pictures], np.int64),
        "file": [str(p.path) for p in pictures],
        "identity": [p.identity for p in pictures],
        "pair_key": [p.pair_key for p in pictures]})
    pyarrow.parquet.write_table(table, folder / "index.parquet")
