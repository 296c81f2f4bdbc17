"""Aligned copies of folders and sets: each face moved into one frame, by the same names.

Every picture of the source has a row in `faces.csv`: where its face was found and, if it is left
out, why. The copy of a set keeps the facts on its pictures and people.
"""

import io
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.atomic_io import building_folder, write_json, write_text
from fer.data.decode import inspect_picture
from fer.data.faces import detector
from fer.data.faces.alignment import Frame, align
from fer.data.faces.box_table import face_in_box
from fer.data.faces.boxes import Box, within_picture
from fer.data.file_walk import visible_files
from fer.data.layout import is_picture
from fer.data.metadata import EDGES, Facts, read_facts, read_people, write_facts, write_people
from fer.data.pack import only_builder
from fer.data.picture_format import JPEG_SUFFIXES
from fer.data.process_map import map_in_processes
from fer.errors import CallerError, plural
from fer.plain_text import csv_text, is_utf8, printable
from fer.untrusted_io import read_json

TABLE, RECORD = "faces.csv", "aligned.json"
QUALITY = 95  # of JPEGs
JOB_PICTURES = 8
MANY = 40  # pictures; for fewer, starting processes takes longer than finding faces
RIVAL = 0.5  # a second face this large, relative to the largest, makes it unclear whose face counts

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AlignRequest:
    """What to align.

    Attributes:
        source: a folder of pictures, in any folders.
        target: of the aligned copy.
        frame: of its pictures.
        least: pixels; faces with a shorter side of the box are left out.
        largest: of several faces take the largest, else leave the picture out.
        boxes: resolved picture -> box of its face, instead of finding it; pictures without one are
            left out. None: faces are found.
    """

    source: Path
    target: Path
    frame: Frame
    least: int
    largest: bool = False
    boxes: Mapping[Path, Box] | None = None


@dataclass(frozen=True)
class Row:
    """One picture of the source.

    Attributes:
        file: of the aligned picture, below the copy; empty if it is left out.
        original: the source file.
        faces: number of faces found.
        left, top, right, bottom: box of the face in the original, in pixels after its EXIF turn.
        score: of the detector; empty for a box that was drawn or moved.
        reason: why it is left out; empty if it is not.
    """

    file: str
    original: str
    faces: int = 0
    left: str = ""
    top: str = ""
    right: str = ""
    bottom: str = ""
    score: str = ""
    reason: str = ""


def align_folder(request: AlignRequest, workers: int | None = None,
                 progress: Progress | None = None) -> list[str]:
    """Write the aligned copy and return lines on it; one that exists already is left as it is.

    Args:
        workers: number of processes; default: one per core for many pictures, else 1.
        progress: called with (pictures done, total).

    Raises:
        CallerError: no pictures, two that would get one name, no face in any, other content at the
            target, or no detector. Nothing is written then.
    """
    if request.boxes is None:
        detector.weights_file()
    files = _pictures(request.source)
    record = _record(request, files)
    there = f"{request.target}: was there already"
    if _holds(request.target, record):
        return [there]
    with closing(_align_all(request, files, workers, progress)) as results:
        rows, first = _until_aligned(results)  # nothing is written before
        if first is None:
            raise CallerError(f"{request.source}: no picture is left: {_reasons(rows)}")
        with only_builder(request.target):
            if _holds(request.target, record):  # another process was faster
                return [there]
            with building_folder(request.target) as folder:
                for row, content in chain([first], results):
                    rows.append(row)
                    if content:
                        file = folder / row.file
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(content)
                taken = {row.file for row in rows if row.file}
                write_text(folder / TABLE, _table(rows))
                _copy_facts(request.source, folder, taken)
                write_json(folder / RECORD, record)
    line = f"{request.target}: {len(taken)} of {plural(len(rows), 'picture')} aligned"
    left_out = _reasons(rows)
    return [f"{line}; left out: {left_out} ({TABLE} has a row for each)" if left_out else line]


def _pictures(source: Path) -> list[str]:
    if not source.is_dir():
        raise CallerError(f"no folder {source}")
    files = [str(file) for file in visible_files(source, follow=True) if is_picture(file.name)]
    if not files:
        raise CallerError(f"{source}: no pictures")
    names = Counter(map(_aligned_name, files))
    twice = [file for file in files if names[_aligned_name(file)] > 1]
    if twice:
        raise CallerError(f"{source}: {twice[0]} and {twice[1]} would both be "
                          f"{_aligned_name(twice[0])}; rename one")
    return files


def _record(request: AlignRequest, files: Sequence[str]) -> dict:
    state = sha256()
    for file in files:
        path = request.source / file
        size = path.stat().st_size if path.exists() else 0
        state.update(f"{file}\0{size}\n".encode("utf-8", "surrogateescape"))
    frame = request.frame
    made = {"source": printable(str(request.source.absolute())), "frame": frame.name,
            "size": list(frame.size), "points": frame.points.round(2).tolist(),
            "least": request.least, "largest": request.largest,
            "detector": detector.SHA256, "pictures": len(files), "listing": state.hexdigest()}
    if request.boxes is not None:
        text = repr(sorted((str(path), box) for path, box in request.boxes.items()))
        made |= {"boxes": sha256(text.encode()).hexdigest(),
                 "detector": detector.SHA256 if detector.is_available() else ""}
    return made


def _holds(target: Path, record: Mapping) -> bool:
    """Return whether an equal copy exists; raise if the target has other content."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = read_json(target / RECORD)
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise CallerError(f"{target} exists and was not created by this command; name another")
    other = [name for name in {**record, **found} if found.get(name) != record.get(name)]
    if other:
        raise CallerError(f"{target} contains faces of another source or frame (differs in: "
                          f"{', '.join(other)}); name another folder, or remove it")
    return True


_Aligned = tuple[Row, bytes]  # and the file of the aligned picture; empty if it is left out


def _align_all(request: AlignRequest, files: Sequence[str], workers: int | None,
               progress: Progress | None) -> Generator[_Aligned, None, None]:
    jobs = [(request, files[start : start + JOB_PICTURES])
            for start in range(0, len(files), JOB_PICTURES)]
    cores = len(os.sched_getaffinity(0)) if len(files) >= MANY else 1
    done = 0
    with closing(map_in_processes(_align_some, jobs, workers or cores)) as results:
        for found in results:
            done += len(found)
            if progress:
                progress(done, len(files))
            yield from found


def _until_aligned(results: Iterator[_Aligned]) -> tuple[list[Row], _Aligned | None]:
    """Return the rows before the first aligned picture, and that; None if there is none."""
    rows: list[Row] = []
    for row, content in results:
        if content:
            return rows, (row, content)
        rows.append(row)
    return rows, None


def _align_some(job: tuple[AlignRequest, Sequence[str]]) -> list[_Aligned]:
    request, files = job
    return [_align_one(request, file) for file in files]


def _align_one(request: AlignRequest, file: str) -> _Aligned:
    path = request.source / file
    original = printable(str(path.absolute()))
    if not is_utf8(file):
        return Row("", original, reason="a name that is not UTF-8"), b""
    if not path.exists():
        return Row("", original, reason="links to nothing"), b""
    picture, damage = inspect_picture(path)
    if picture is None:
        return Row("", original, reason=str(damage)), b""
    faces = _faces(request, path, picture)
    if not faces:
        return Row("", original, reason="no face found" if request.boxes is None else "no box"), b""
    left, top, right, bottom = faces[0].box
    edges = [f"{edge:.1f}" for edge in faces[0].box]
    reason, side = "", min(right - left, bottom - top)
    rivals = [face for face in faces if face.area > RIVAL**2 * faces[0].area]
    if len(rivals) > 1 and not request.largest:
        reason = "several faces"
    elif side < request.least:
        reason = f"a face smaller than {request.least} pixels"
    name = "" if reason else _aligned_name(file)
    row = Row(name, original, len(faces), edges[0], edges[1], edges[2], edges[3],
              f"{faces[0].score:.2f}" if faces[0].score else "", reason)
    return row, _encoded(align(picture, faces[0], request.frame), name) if name else b""


def _faces(request: AlignRequest, path: Path, picture: NDArray[np.uint8]) -> list[detector.Face]:
    """Return the faces in a picture, largest first; only the one in its box, if boxes are given."""
    if request.boxes is None:
        return detector.find_faces(picture)
    box = request.boxes.get(path.resolve())
    box = box and within_picture(box, picture.shape[1], picture.shape[0])
    if box is None:
        return []
    found = detector.find_faces(picture) if detector.is_available() else []
    return [face_in_box(box, found)]


def _encoded(picture: NDArray[np.uint8], name: str) -> bytes:
    is_jpeg, out = name.lower().endswith(JPEG_SUFFIXES), io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG" if is_jpeg else "PNG",
                                  **({"quality": QUALITY, "subsampling": 0} if is_jpeg else {}))
    return out.getvalue()


def _aligned_name(file: str) -> str:
    """Return the name of the aligned picture: formats other than JPEG become PNG."""
    return file if file.lower().endswith((*JPEG_SUFFIXES, ".png")) else f"{file}.png"


def _reasons(rows: Sequence[Row]) -> str:
    counts = Counter(row.reason for row in rows if row.reason)
    first = {row.reason: row.original for row in reversed(rows)}
    return "; ".join(f"{count} with {reason}" if reason.startswith(("several", "a "))
                     else f"{count} {reason}, such as {first[reason]}"
                     for reason, count in counts.most_common())


def _table(rows: Sequence[Row]) -> str:
    return csv_text([field.name for field in fields(Row)], map(astuple, rows), exact=True)


def _copy_facts(source: Path, folder: Path, files: set[str]) -> None:
    """Write the source's `pictures.csv` and `dataset.json` for the pictures of the copy."""
    if facts := read_facts(source):
        write_facts(folder, {file: _without_box(one) for original, one in facts.items()
                             if (file := _aligned_name(original)) in files})
    if people := read_people(source):
        write_people(folder, people)


def _without_box(facts: Facts) -> Facts:
    """Return facts without the box of the face, which is in pixels of the original."""
    return replace(facts, more=tuple(one for one in facts.more if one[0] not in EDGES))
