"""A door: what reads one kind of file, whole files of the kind, and the errors it documents."""

import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fer.errors import CallerError
from fer.plain_text import has_controls, without_controls
from fuzz.damage import changed_content, mutated

MOST_S, MOST_MB = 2.0, 500
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Door:
    """What reads a kind of file, whole files of the kind, and the errors that it documents.

    Attributes:
        place: of a file of a store, which its readers find by name; None for any place.
        tree: whether the samples are JSON or YAML, of which single values are replaced too.
    """

    name: str
    read: Read
    samples: tuple[bytes, ...]
    documented: tuple[type[Exception], ...] = (CallerError,)
    place: Path | None = None
    tree: bool = False

    def damaged(self, draw: random.Random) -> bytes:
        """Return a sample with some damage."""
        damage = changed_content if self.tree and draw.random() < 0.8 else mutated
        return damage(draw.choice(self.samples), draw)


def fuzzed(door: Door, folder: Path, inputs: int, seed: int) -> Iterator[str]:
    """Yield what goes wrong at a door over a number of inputs, each a line."""
    draw = random.Random(f"{door.name} {seed}")
    peak = peak_mb()
    for number in range(inputs):
        path = door.place or folder / f"{number % 8}.bin"
        put(path, door.damaged(draw), number)
        begin, problem = time.process_time(), ""
        try:
            door.read(path)
        except door.documented as error:
            if isinstance(error, CallerError) and has_controls(one_line_of(error)):
                problem = f"not one line: {str(error)[:200]!r}"
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        took, now = time.process_time() - begin, peak_mb()
        if took > MOST_S:
            problem = f"took {took:.1f} s"
        if now - peak > MOST_MB:
            problem, peak = f"took {now - peak:.0f} MB", now
        if problem:
            yield f"{door.name}, input {number} of seed {seed}: {problem}"
    if door.place is not None:  # for the next door of the same store
        put(door.place, door.samples[0], inputs)
        try:
            door.read(door.place)  # writes what belongs to the file, such as its manifest
        except Exception as error:
            yield f"{door.name}: the whole file is not taken any more: {error}"


def peak_mb() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def put(path: Path, content: bytes, number: int) -> None:
    """Write a file with an age of its own: caches know a file by inode, size and time."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(number, 10**18 + number))


def one_line_of(error: CallerError) -> str:
    """Return what a script prints of an error."""
    return without_controls(str(error))
