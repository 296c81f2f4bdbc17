"""Pictures decoded in other processes while the model works, as training decodes them.

Decoding and cropping are those of packs (`fer.data.decode`, `fer.data.pack_rows.fit`). Imports no
torch, because every loader process imports it. At most a few chunks wait in memory.
"""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.decode import decode
from fer.data.pack_rows import fit
from fer.data.process_map import ProcessPool
from fer.errors import CallerError

if TYPE_CHECKING:
    from fer.data.faces.alignment import Frame

MANY = 200  # pictures; for fewer, starting processes takes longer than decoding
MOST_WORKERS = 16  # more would wait for the disk
FIRST = 8  # pictures of the first chunk, so that the first answers come early
AHEAD = 3  # chunks that wait for the model, of each worker
CRASHED = "its decoder crashed"
NO_FACE = "no face found"

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Chunk:
    """Consecutive pictures.

    Attributes:
        start: index of the first.
        reasons: why a picture is unusable, one a picture; empty where it is usable.
        pixels: side in pixels -> uint8 (usable pictures, side, side, 3).
    """

    start: int
    reasons: tuple[str, ...]
    pixels: dict[int, NDArray[np.uint8]]


def load_chunks(files: Sequence[str], sizes: Sizes, length: int, workers: int | None = None,
                frame: "Frame | None" = None, pool: ProcessPool | None = None
                ) -> Generator[Chunk, None, None]:
    """Yield all pictures in order, in chunks; close the generator if you stop early.

    Args:
        files: the pictures.
        sizes: sides in pixels, each wanted of every picture.
        length: pictures in a chunk; the first one has at most `FIRST`.
        workers: processes; 0 decodes in this one. Default: one per core for many pictures.
        frame: into which the largest face of each picture is aligned; None: it is cropped already.
        pool: of `started_pool`, for the same files and workers.

    Raises:
        CallerError: a frame is given, and faces cannot be found here; or no process can start.
    """
    if frame is not None:
        from fer.data.faces.detector import weights_file

        weights_file()
    workers = _worker_count(files, workers)
    edges = [0, *range(min(FIRST, length), len(files), length), len(files)]
    tasks = [(start, tuple(files[start:end]), sizes, frame) for start, end in pairwise(edges)]
    yield from (map(load_chunk, tasks) if workers == 0 else
                _in_processes(tasks, workers, pool=pool))


def _worker_count(files: Sequence[str], workers: int | None) -> int:
    if workers is not None:
        return workers
    return min(len(os.sched_getaffinity(0)), MOST_WORKERS) if len(files) >= MANY else 0


@contextmanager
def started_pool(files: Sequence[str], workers: int | None = None) -> Iterator[ProcessPool | None]:
    """Yield loader processes that start while the caller loads a model; None if none are needed.

    Args:
        files, workers: as for `load_chunks`.
    """
    count = _worker_count(files, workers)
    if not count:
        yield None
        return
    with ProcessPool(count) as pool:
        for _ in range(count):
            pool.submit(load_chunk, (0, (), (), None))
        yield pool


# index of the first picture, files, sizes, frame
Task = tuple[int, tuple[str, ...], Sizes, "Frame | None"]


def load_chunk(task: Task) -> Chunk:
    """Return the pictures of one chunk."""
    start, files, sizes, frame = task
    found = [_load_fitted(file, sizes, frame) for file in files]  # at once: photos are large
    good = [pixels for pixels, _ in found if pixels is not None]
    return Chunk(start, tuple(reason for _, reason in found), {
        size: np.stack([pixels[size] for pixels in good]) if good else _none(size)
        for size in sizes})


def _load_fitted(file: str, sizes: Sizes, frame: "Frame | None"
                 ) -> tuple[dict[int, NDArray[np.uint8]] | None, str]:
    """Return (side -> uint8 (side, side, 3), "") or (None, reason)."""
    image, reason = load_picture(file, frame)
    if image is None:
        return None, reason
    return {size: np.asarray(fit(image, size)) for size in sizes}, ""


def load_picture(file: str, frame: "Frame | None" = None) -> tuple[Image.Image | None, str]:
    """Return (RGB image, "") or (None, reason); never raises, because the rest must go on.

    Args:
        frame: into which the largest face is aligned.
    """
    try:
        path = Path(file)
        if not path.is_file():  # a pipe would wait for a writer for ever
            return None, "no such file" if not path.exists() else "no regular file"
        image, reason = decode(path)
        if image is None or frame is None:
            return image, reason or ""
        return _largest_face(image, frame)
    except OSError as error:
        return None, (error.strerror or str(error)).lower()
    except Exception as error:  # of a decoder's plugin, on a file that nobody has seen before
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"


def _largest_face(image: Image.Image, frame: "Frame") -> tuple[Image.Image | None, str]:
    from fer.data.faces.alignment import align  # imports OpenCV
    from fer.data.faces.detector import find_faces

    picture = np.asarray(image)
    faces = find_faces(picture)
    if not faces:
        return None, NO_FACE
    return Image.fromarray(align(picture, faces[0], frame)), ""


def _in_processes(tasks: Sequence[Task], workers: int, ahead: int = AHEAD,
                  pool: ProcessPool | None = None) -> Iterator[Chunk]:
    """Yield the chunks in order; where a process dies, the pictures of a lost chunk one by one."""
    place = 0
    while place < len(tasks):
        try:
            for chunk in _by_pool(tasks[place:], workers, ahead, pool):
                yield chunk
                place += 1
        except BrokenProcessPool:
            pool = None
            _check_start(tasks[place])
            yield _after_crash(tasks[place])
            place += 1


def _check_start(task: Task) -> None:
    """Raise a CallerError if no loader process can start, whatever it loads."""
    try:
        list(_by_pool([(0, (), *task[2:])], 1, ahead=1))
    except BrokenProcessPool:
        raise CallerError("loader processes cannot start: a script that uses them needs "
                          "`if __name__ == '__main__':`; or workers=0") from None


def _by_pool(tasks: Sequence[Task], workers: int, ahead: int, started: ProcessPool | None = None
             ) -> Iterator[Chunk]:
    with started or ProcessPool(workers) as pool:
        waiting: deque[Future[Chunk]] = deque()
        try:
            for task in tasks:
                if len(waiting) >= ahead * workers:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(load_chunk, task))
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _after_crash(task: Task) -> Chunk:
    """Return a chunk that was lost with its process, without the picture that ended it."""
    start, files, sizes, frame = task
    if len(files) == 1:
        return Chunk(start, (CRASHED,), {size: _none(size) for size in sizes})
    # one at a time, so that a crash is its picture's own
    parts = list(_in_processes([(start, (file,), sizes, frame) for file in files], 1, ahead=1))
    return Chunk(start, tuple(part.reasons[0] for part in parts),
                 {size: np.concatenate([part.pixels[size] for part in parts]) for size in sizes})


def _none(size: int) -> NDArray[np.uint8]:
    return np.zeros((0, size, size, 3), np.uint8)
