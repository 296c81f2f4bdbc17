"""The framing of a split: how large faces are in its pictures, and where their eyes lie.

Measured by the detector on a sample of each split, in units of the shorter side around the centre,
as models see pictures (`fer.data.pack_rows.fit`). Size and eyes are those of a mean face that is
fitted to all five points, so that one point under a mask moves them little.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.data.decode import inspect_picture
from fer.data.faces import detector
from fer.data.faces.alignment import SIZES, Frame, frame_of_template, similarity
from fer.data.faces.face_points import TEMPLATES, Points
from fer.data.layout import pictures_below
from fer.data.process_map import ProcessPool, map_in_processes
from fer.data.stable_hash import key, text_word
from fer.errors import CallerError

SAMPLE = 60  # pictures of a split
INPUT = 192  # pixels of the detector's input
JOB_PICTURES = 10
MANY = 60  # pictures; for fewer, starting processes takes longer than finding faces
LEAST_FACES = 8  # for a comparison
MOST_RATIO = 1.1  # of two sizes: half of a crop that is tighter by a fifth
MOST_SHIFT = 0.05  # of the shorter side, between two lines of the eyes
ERRORS = 3.0  # standard errors that a difference exceeds

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Framing:
    """What a sample of a split's pictures shows.

    Attributes:
        looked_at: number of pictures.
        faces: (N, 2): size of each face found and height of its eyes. The size is the side of a
            square from ear to ear and from brow to chin.
    """

    looked_at: int
    faces: NDArray[np.float64]

    @property
    def without(self) -> float:
        """Share of the pictures in which no face is found."""
        return 1 - len(self.faces) / max(self.looked_at, 1)

    @property
    def size(self) -> float:
        """Median size of a face, in shorter sides of its picture."""
        return float(np.median(self.faces[:, 0]))

    @property
    def eyes(self) -> float:
        """Median height of the eyes: 0 at the top of the central square, 1 at its bottom."""
        return float(np.median(self.faces[:, 1]))

    def __str__(self) -> str:
        if not len(self.faces):
            return f"no face found in {self.looked_at} pictures"
        return (f"faces fill {self.size:.0%} of the side, eyes at {self.eyes:.0%} of the height, "
                f"{self.without:.0%} without a face ({self.looked_at} pictures looked at)")


def measure(splits: Mapping[str, Sequence[Path]], progress: Progress | None = None,
            pool: ProcessPool | None = None) -> dict[str, Framing]:
    """Return the framing of each split, by a sample that depends on file names only.

    Args:
        splits: `real/test` -> the files of its pictures.
        progress: called with (pictures done, total).
        pool: as in `map_in_processes`.

    Raises:
        CallerError: the detector is not installed.
    """
    chosen = {split: sorted(files, key=lambda path: key(text_word(path.name)))[:SAMPLE]
              for split, files in splits.items()}
    jobs = [(split, files[start : start + JOB_PICTURES]) for split, files in chosen.items()
            for start in range(0, len(files), JOB_PICTURES)]
    total, done = sum(map(len, chosen.values())), 0
    workers = len(os.sched_getaffinity(0)) if total >= MANY else 1
    found: dict[str, list[list[float]]] = {split: [] for split in chosen}
    with closing(map_in_processes(_faces_in, (files for _, files in jobs), workers, pool)
                 ) as results:
        for (split, files), rows in zip(jobs, results, strict=True):
            found[split] += rows
            done += len(files)
            if progress:
                progress(done, total)
    return {split: Framing(len(chosen[split]), np.array(rows, float).reshape(-1, 2))
            for split, rows in found.items()}


def _faces_in(files: Sequence[Path]) -> list[list[float]]:
    rows = []
    for file in files:
        picture = inspect_picture(file)[0] if file.exists() else None
        if picture is not None and (faces := detector.find_faces(picture, INPUT)):
            rows.append(framed(faces[0].points, picture.shape[1], picture.shape[0]))
    return rows


def framed(points: Points, width: int, height: int) -> list[float]:
    """Return the size of a face and the height of its eyes in a picture, in its shorter side."""
    side = min(width, height)
    fitted = similarity(TEMPLATES["cropped"], points)
    eyes = fitted(TEMPLATES["cropped"][:2])[:, 1].mean()
    return [fitted.scale / side, (eyes - height / 2) / side + 0.5]


def difference(one: Framing, two: Framing) -> str:
    """Return how two framings differ; empty if they do not, or if too few faces are found.

    Both the difference itself and its distance from chance must be large.
    """
    if min(len(one.faces), len(two.faces)) < LEAST_FACES:
        return ""
    said = []
    if _apart(np.log(one.faces[:, 0]), np.log(two.faces[:, 0]), float(np.log(MOST_RATIO))):
        said.append(f"faces fill {one.size:.0%} and {two.size:.0%} of the side")
    if _apart(one.faces[:, 1], two.faces[:, 1], MOST_SHIFT):
        said.append(f"eyes are at {one.eyes:.0%} and {two.eyes:.0%} of the height")
    return ", ".join(said)


def _apart(one: NDArray[np.float64], two: NDArray[np.float64], least: float) -> bool:
    """Return whether two medians differ by more than `least` and than chance explains."""
    error = np.hypot(_error_of_median(one), _error_of_median(two))
    return bool(abs(np.median(one) - np.median(two)) > max(least, ERRORS * error))


def _error_of_median(values: NDArray[np.float64]) -> float:
    """Return its standard error, from the median absolute deviation of normal values."""
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    return float(np.sqrt(np.pi / 2) * spread / np.sqrt(len(values)))


def frame_of(name: str, files: Sequence[Path]) -> Frame:
    """Return the frame of a set's pictures: medians of the points found, and of the sizes.

    Args:
        name: of the set.
        files: its pictures.

    Raises:
        CallerError: too few faces are found, or the detector is not installed.
    """
    sizes, places = [], []
    for file in sorted(files, key=lambda path: key(text_word(path.name)))[:SAMPLE]:
        picture = inspect_picture(file)[0]
        if picture is None:
            continue
        sizes.append((picture.shape[1], picture.shape[0]))
        if faces := detector.find_faces(picture):
            places.append(faces[0].points / sizes[-1])
    if len(places) < LEAST_FACES:
        raise CallerError(f"--frame {name}: faces are found in {len(places)} of {len(sizes)} "
                          f"pictures; {LEAST_FACES} are needed to know its frame")
    width, height = (int(np.median(side)) for side in zip(*sizes, strict=True))
    mean = _mirrored_mean(np.median(places, axis=0)) * [width, height]
    return Frame(name, (width, height), mean)


def _mirrored_mean(points: Points) -> Points:
    """Return points that are symmetric about their own middle: frames do not lean."""
    middle = points[:, 0].mean()
    mirrored = points[[1, 0, 2, 4, 3]] * [-1, 1] + [2 * middle, 0]
    return (points + mirrored) / 2


def named_frame(name: str, root: Path) -> Frame:
    """Return the frame of a template, else that of a set, whose faces are measured.

    Args:
        name: of a template, or of a set's folder below `root`. A template comes first: the drawn
            sets are in a folder `drawn`, which is none.

    Raises:
        CallerError: neither exists, or as in `frame_of`.
    """
    is_set = name not in SIZES and (root / name).is_dir()
    return frame_of(name, pictures_below(root / name)) if is_set else frame_of_template(name)
