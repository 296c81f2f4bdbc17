"""Facial landmarks of a set's pictures: from a template, from a CSV file, or detected."""

import csv
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.data.faces.detector import find_faces, weights_file
from fer.data.faces.face_points import NAMES, TEMPLATES, Points, template
from fer.errors import CallerError, choices
from fer.untrusted_io import bounded_csv, written_text

COLUMNS = ("file", *(f"{name}_{axis}" for name in NAMES for axis in "xy"))
DETECT = "detect"


def read_landmarks(file: Path) -> dict[str, Points]:
    """Return the points in pixels, by file name, of a CSV with the columns `COLUMNS`.

    `file` is a picture's path below the data set (`train/neutral/A_B_0001.jpg`) or only its name.

    Raises:
        CallerError: no such file, a missing column, a value that is not a number, a duplicate
            picture, or invalid points: a left eye or mouth corner not left of the right one.
    """
    try:
        text = written_text(file)
    except FileNotFoundError:
        raise CallerError(f"no landmarks file {file}") from None
    rows = csv.DictReader(text.splitlines())
    found: dict[str, Points] = {}
    with bounded_csv(file, rows):
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise CallerError(f"{file}: no column {', '.join(missing)}; needed are "
                              f"{', '.join(COLUMNS)}")
        for row in rows:
            place = f"{file}:{rows.line_num}"
            if row["file"] in found:
                raise CallerError(f"{place}: duplicate file {row['file']}")
            found[row["file"]] = _points(row, place)
    return found


def _points(row: dict[str, str], place: str) -> Points:
    try:
        values = [float(row[name]) for name in COLUMNS[1:]]
    except (TypeError, ValueError):
        wrong = next(name for name in COLUMNS[1:] if not _is_number(row[name]))
        raise CallerError(f"{place}: {wrong} is {row[wrong]!r}, not a number") from None
    if not all(map(math.isfinite, values)):
        raise CallerError(f"{place}: a coordinate is not finite")
    points = np.array(values).reshape(5, 2)
    if points[0, 0] >= points[1, 0] or points[3, 0] >= points[4, 0]:
        raise CallerError(f"{place}: the left eye and mouth corner, from the viewer's perspective, "
                          "must be left of the right ones")
    return points


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def require_inside(points: Points, width: int, height: int, place: str) -> None:
    """Refuse landmarks of another picture, or of a picture that was resized later.

    Raises:
        CallerError: a point is outside the picture.
    """
    outside = ((points < 0) | (points > [width, height])).any(axis=1)
    if outside.any():
        index = int(np.argmax(outside))
        x, y = points[index]
        raise CallerError(f"{place}: {NAMES[index]} at ({x:g}, {y:g}) is outside the picture of "
                          f"{width} x {height} pixels")


@dataclass(frozen=True)
class LandmarkSource:
    """Source of landmarks: exactly one of a template, a table, or detection.

    Attributes:
        template: name of a template.
        table: file -> (5, 2) pixels; the file is a path below the set or a name.
        detect: find the largest face of each picture.
    """

    template: str = ""
    table: Mapping[str, Points] | None = None
    detect: bool = False

    def known(self, file: str) -> Points | None:
        """Return the points of a file in the table."""
        assert self.table is not None
        found = self.table.get(file)
        return self.table.get(os.path.basename(file)) if found is None else found

    def of(self, file: str, picture: NDArray[np.uint8]) -> Points | None:
        """Return the points of a face; None if the detector finds none.

        Raises:
            CallerError: a point is outside the picture.
        """
        height, width = picture.shape[:2]
        if self.detect:
            faces = find_faces(picture)
            return faces[0].points if faces else None
        if self.table is None:
            return template(self.template, width, height)
        points = self.known(file)
        assert points is not None, file
        require_inside(points, width, height, file)
        return points


def landmark_source(name: str) -> LandmarkSource:
    """Return the source of landmarks: a template, a CSV file, or `detect`.

    Raises:
        CallerError: no such source, an invalid table of landmarks, or no detector.
    """
    if name in TEMPLATES:
        return LandmarkSource(template=name)
    if name == DETECT:
        weights_file()
        return LandmarkSource(detect=True)
    if name.lower().endswith(".csv"):
        return LandmarkSource(table=read_landmarks(Path(name)))
    raise CallerError(f"no landmarks '{name}'; a CSV file, or one of: "
                      f"{choices([*TEMPLATES, DETECT])}")
