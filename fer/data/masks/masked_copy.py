"""Write a masked twin of a data set: the same file names, a synthetic mask in every picture.

A picture's mask is a function of (seed, its path below the set), so a second set with other
styles differs in the masks only. Not for masks as augmentation (`fer.data.masks.atlas`).
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

from fer.atomic_io import building_folder, read_json, write_json
from fer.data.decode import inspect_picture
from fer.data.hashing import key, text_word
from fer.data.layout import class_folders, discover, picture_files, split_folders
from fer.data.masks.landmarks import Faces
from fer.data.masks.render import lay_over, render
from fer.data.masks.styles import named, sample
from fer.data.metadata import Facts, read_facts, write_facts
from fer.data.pack import only_builder
from fer.data.process_map import map_in_processes
from fer.errors import CallerError

RECORD = "masks.json"
QUALITY = 95  # of JPEGs
JOB_PICTURES = 16
MANY = 64  # pictures; below it, starting processes takes longer than drawing

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Twin:
    """What a masked twin is made from.

    Attributes:
        source: folder of the data set whose pictures are masked.
        styles: of the masks.
        seed: of what mask a picture gets.
        faces: where the landmarks are from.
        said: what names them in the record.
        splits: which of the source's splits; None takes all.
    """

    source: Path
    styles: tuple[str, ...]
    seed: int
    faces: Faces
    said: str
    splits: tuple[str, ...] | None = None

    def record(self, files: Mapping[str, Path]) -> dict:
        """Return what the twin's `masks.json` says, for a second call to compare."""
        state = sha256()
        for file, path in files.items():
            state.update(f"{file}\0{path.stat().st_size}\n".encode())
            if self.faces.table is not None and (points := self.faces.known(file)) is not None:
                state.update(points.tobytes())
        return {"source": self.source.name, "styles": list(self.styles), "seed": self.seed,
                "landmarks": self.said, "pictures": len(files), "listing": state.hexdigest()}


@dataclass(frozen=True)
class Written:
    """What came out: pictures a style, and the pictures that were left out with the reason."""

    styles: Mapping[str, int]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        said = ", ".join(f"{count} {style}" for style, count in sorted(self.styles.items()))
        lines = [f"{sum(self.styles.values())} pictures masked ({said})"]
        if self.left_out:
            file, reason = next(iter(self.left_out.items()))
            lines.append(f"{len(self.left_out)} left out, such as {file}: {reason}")
        return "; ".join(lines)


def write_twin(twin: Twin, target: Path, workers: int | None = None,
               progress: Progress | None = None) -> Written | None:
    """Make `target` the masked twin; None where an equal one is there already.

    Args:
        target: appears whole or not at all.
        workers: processes; by default one a core, and only for many pictures.
        progress: called with (pictures done, all).

    Raises:
        CallerError: no data set at the source, an unknown style, `target` holds something else,
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
            write_facts(folder, {file: replace(known.get(file, Facts()), mask_type=style)
                                 for file, style in made.items()})
            write_json(folder / RECORD, record | {"left_out": left_out})
    return Written(Counter(made.values()), left_out)


def _draw(twin: Twin, files: Mapping[str, Path], folder: Path, workers: int,
          made: dict[str, str], left_out: dict[str, str], progress: Progress | None) -> None:
    """Fill the folder of the twin, and note what each picture wears or why it is left out."""
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
    """Whether the twin is there already.

    Raises:
        CallerError: something else is.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = read_json(target / RECORD)
        found.pop("left_out")
    except (OSError, ValueError, AttributeError, KeyError):
        raise CallerError(f"{target} is there and was not made by this command; name another "
                          "set") from None
    other = [f"{name} {found.get(name)!r}" for name in record if found.get(name) != record[name]]
    if other:
        raise CallerError(f"{target} holds other masks or masks of other pictures "
                          f"({', '.join(other)}); name another set, or remove it")
    return True


def _files(top: Path, twin: Twin) -> dict[str, Path]:
    """Return path below the set, the split in lower case -> file, sorted."""
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
        raise CallerError(f"{twin.said} has no landmarks of {len(missing)} of {len(files)} "
                          f"pictures, such as {missing[0]}")


def _workers_for(pictures: int) -> int:
    return len(os.sched_getaffinity(0)) if pictures >= MANY else 1


_Job = tuple[Twin, Sequence[tuple[str, Path]], Path]
_Result = tuple[str, str, str]  # file, style, reason why it was left out


def _results(twin: Twin, files: Mapping[str, Path], folder: Path, workers: int
             ) -> Generator[_Result, None, None]:
    items = list(files.items())
    chunks = [items[start : start + JOB_PICTURES] for start in range(0, len(items), JOB_PICTURES)]
    jobs = [(_for_chunk(twin, chunk), chunk, folder) for chunk in chunks]
    for results in map_in_processes(_mask_pictures, jobs, workers):
        yield from results


def _for_chunk(twin: Twin, chunk: Sequence[tuple[str, Path]]) -> Twin:
    """Return the twin with the landmarks of a chunk only: the table may be large."""
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
    """Return how to save under a picture's own name: JPEGs hardly smaller than before."""
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    return {"quality": QUALITY, "subsampling": 0} if is_jpeg else {}
