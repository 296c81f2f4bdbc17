"""Masked copies of data sets: the same file names, with a synthetic mask in every picture.

A picture's mask is a function of (seed, its path below the set), so a second copy with other styles
differs only in the masks. Masks as augmentation are in `fer.data.masks.atlas`.
"""

import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from fer.atomic_io import building_folder, write_json
from fer.data.decode import inspect_picture
from fer.data.layout import (
    class_folders,
    discover,
    picture_files,
    pictures_below,
    split_folders,
)
from fer.data.masks.landmarks import LandmarkSource
from fer.data.masks.render import lay_over, render
from fer.data.masks.styles import named, sample
from fer.data.metadata import (
    ANNOTATIONS,
    CERTAINTY,
    Facts,
    read_facts,
    read_people,
    write_facts,
    write_people,
)
from fer.data.pack import only_builder
from fer.data.picture_format import JPEG_SUFFIXES
from fer.data.process_map import map_in_processes
from fer.data.stable_hash import key, text_word
from fer.errors import CallerError
from fer.untrusted_io import read_json

RECORD = "masks.json"
QUALITY = 95  # of JPEGs
FUNNELLED = (250, 250)  # pixels
LOOKED_AT = 50  # pictures of a set
JOB_PICTURES = 16
MANY = 64  # pictures; for fewer, starting processes takes longer than drawing

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Twin:
    """The specification of a masked copy.

    Attributes:
        source: folder of the data set whose pictures are masked.
        styles: of the masks.
        seed: of the choice of masks.
        faces: source of the landmarks.
        said: name of that source in the record.
        splits: of the source; None for all.
    """

    source: Path
    styles: tuple[str, ...]
    seed: int
    faces: LandmarkSource
    said: str
    splits: tuple[str, ...] | None = None

    def record(self, files: Mapping[str, Path]) -> dict:
        """Return the content of the copy's `masks.json`, by which a second call recognises it."""
        state = sha256()
        for file, path in files.items():
            state.update(f"{file}\0{path.stat().st_size}\n".encode())
            if self.faces.table is not None and (points := self.faces.known(file)) is not None:
                state.update(points.tobytes())
        return {"source": self.source.name, "styles": list(self.styles), "seed": self.seed,
                "landmarks": self.said, "pictures": len(files), "listing": state.hexdigest()}


@dataclass(frozen=True)
class Written:
    """The result: pictures per style, and the pictures left out with the reason."""

    styles: Mapping[str, int]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        styles = ", ".join(f"{count} {style}" for style, count in sorted(self.styles.items()))
        lines = [f"{sum(self.styles.values())} pictures masked ({styles})"]
        if self.left_out:
            file, reason = next(iter(self.left_out.items()))
            lines.append(f"{len(self.left_out)} left out, such as {file}: {reason}")
        return "; ".join(lines)


def default_landmarks(source: Path) -> str:
    """Return `funnelled` for a set whose pictures have the size of funnelled LFW.

    Raises:
        CallerError: they have another size, so the place of the faces in them is unknown.
    """
    files = pictures_below(source)
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        picture, _ = inspect_picture(file)
        if picture is not None and picture.shape[:2] != FUNNELLED:
            height, width = picture.shape[:2]
            raise CallerError(
                f"{source}: masks need landmarks: {file.name} has {width} x {height} pixels, so it "
                "is not a funnelled picture of LFW; set --landmarks to cropped (faces fill the "
                "image), detect, a CSV file, or funnelled")
    return "funnelled"


def write_twin(twin: Twin, target: Path, workers: int | None = None,
               progress: Progress | None = None) -> Written | None:
    """Write the masked copy at `target`; return None if an equal one exists already.

    Args:
        target: written atomically.
        workers: number of processes; default: one per core for many pictures, else 1.
        progress: called with (pictures done, total).

    Raises:
        CallerError: no data set at the source, an unknown style, other content at `target`,
            pictures without landmarks, or landmarks outside their picture.
    """
    twin = replace(twin, styles=named(twin.styles))
    top = discover(twin.source)
    files = _files(top, twin)
    _require_landmarks(files, twin)
    record = twin.record(files)
    made: dict[str, str] = {}
    left_out: dict[str, str] = {}
    with only_builder(target):
        if _holds(target, record):
            return None
        with building_folder(target) as folder:
            _draw(twin, files, folder, workers or _workers_for(len(files)), made, left_out,
                  progress)
            known = read_facts(top)
            write_facts(folder, {file: _of_copy(known.get(file, Facts()), style)
                                 for file, style in made.items()})
            if people := read_people(top):
                write_people(folder, people)
            write_json(folder / RECORD, record | {"left_out": left_out})
    return Written(Counter(made.values()), left_out)


def _of_copy(facts: Facts, style: str) -> Facts:
    """Return the facts of a masked copy: annotators saw the original."""
    more = tuple(one for one in facts.more if one[0] not in (ANNOTATIONS, CERTAINTY))
    return replace(facts, mask_type=style, agreement="", more=more)


def _draw(twin: Twin, files: Mapping[str, Path], folder: Path, workers: int,
          made: dict[str, str], left_out: dict[str, str], progress: Progress | None) -> None:
    """Write the pictures of the copy; record each one's style, or why it is left out."""
    for place in {os.path.dirname(file) for file in files}:
        (folder / place).mkdir(parents=True)
    with closing(_results(twin, files, folder, workers)) as results:
        for done, (file, style, reason) in enumerate(results, 1):
            if reason:
                left_out[file] = reason
            else:
                made[file] = style
            if progress:
                progress(done, len(files))


def _holds(target: Path, record: Mapping) -> bool:
    """Return whether the masked copy exists already.

    Raises:
        CallerError: `target` has other content.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = read_json(target / RECORD)
        found.pop("left_out")
    except (OSError, ValueError, AttributeError, KeyError):
        raise CallerError(f"{target} exists and was not created by this command; name another "
                          "set") from None
    other = [f"{name} {found.get(name)!r}" for name in record if found.get(name) != record[name]]
    if other:
        raise CallerError(f"{target} contains other masks or masks of other pictures "
                          f"({', '.join(other)}); name another set, or remove it")
    return True


def _files(top: Path, twin: Twin) -> dict[str, Path]:
    """Return path below the set, with the split in lower case -> file, sorted."""
    splits = dict(split_folders(top))
    wanted = twin.splits or tuple(sorted(splits))
    unknown = [name for name in wanted if name not in splits]
    if unknown:
        raise CallerError(f"{twin.source} has no split '{unknown[0]}'; there are: "
                          f"{', '.join(sorted(splits))}")
    found = {f"{split}/{place.name}/{file}": place / file
             for split in wanted for place in class_folders(splits[split])
             for file in picture_files(twin.source.name, place)}
    if not found:
        raise CallerError(f"{twin.source} has no pictures in {', '.join(wanted)}")
    return dict(sorted(found.items()))


def _require_landmarks(files: Mapping[str, Path], twin: Twin) -> None:
    if twin.faces.table is None:
        return
    missing = [file for file in files if twin.faces.known(file) is None]
    if missing:
        raise CallerError(f"{twin.said} has no landmarks for {len(missing)} of {len(files)} "
                          f"pictures, such as {missing[0]}")


def _workers_for(pictures: int) -> int:
    return len(os.sched_getaffinity(0)) if pictures >= MANY else 1


_Job = tuple[Twin, Sequence[tuple[str, Path]], Path]
_Result = tuple[str, str, str]  # file, style, reason for leaving it out


def _results(twin: Twin, files: Mapping[str, Path], folder: Path, workers: int
             ) -> Generator[_Result, None, None]:
    items = list(files.items())
    chunks = [items[start : start + JOB_PICTURES] for start in range(0, len(items), JOB_PICTURES)]
    jobs = [(_for_chunk(twin, chunk), chunk, folder) for chunk in chunks]
    for results in map_in_processes(_mask_pictures, jobs, workers):
        yield from results


def _for_chunk(twin: Twin, chunk: Sequence[tuple[str, Path]]) -> Twin:
    """Return the specification with only the landmarks of a chunk: the table may be large."""
    if twin.faces.table is None:
        return twin
    part = {file: points for file, _ in chunk if (points := twin.faces.known(file)) is not None}
    return replace(twin, faces=replace(twin.faces, table=part))


def _mask_pictures(job: _Job) -> list[_Result]:
    twin, chunk, folder = job
    results: list[_Result] = []
    for file, path in chunk:
        picture, reason = inspect_picture(path)
        points = None if picture is None else twin.faces.of(file, picture)
        if picture is None or points is None:
            results.append((file, "", reason or "no face found"))
            continue
        rng = np.random.default_rng(key(twin.seed, text_word(file)))
        style = twin.styles[int(rng.integers(len(twin.styles)))]
        masked = lay_over(picture, render(sample(style, rng), points))
        Image.fromarray(masked).save(folder / file, **_options(path))
        results.append((file, style, ""))
    return results


def _options(path: Path) -> dict:
    """Return the options for saving a picture in its own format: JPEGs at high quality."""
    is_jpeg = path.suffix.lower() in JPEG_SUFFIXES
    return {"quality": QUALITY, "subsampling": 0} if is_jpeg else {}
