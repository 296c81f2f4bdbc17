"""Where the eyes, the nose and the mouth of a face are: from a template or from a CSV file.

Five points a face, in the order that detectors give them (MTCNN, RetinaFace): the eye, the nose's
tip and the corner of the mouth, as the viewer sees them from the left. Not for detecting them
(`fer.data.masks.detect`) and not for what is drawn upon them.
"""

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.errors import CallerError, choices

Points = NDArray[np.float64]  # (5, 2) pixels, x to the right, y down

NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("file", *(f"{name}_{axis}" for name in NAMES for axis in "xy"))

TEMPLATES: dict[str, Points] = {
    # LFW funnelled: usual proportions within rows 70-195 and columns 78-172 of 250 x 250 pixels,
    # the crop that scikit-learn's fetch_lfw_people takes for the face
    "funnelled": np.array([[0.418, 0.452], [0.582, 0.452], [0.500, 0.548],
                           [0.436, 0.640], [0.564, 0.640]]),
    # a square from ear to ear and from brow to chin, as detectors cut faces out
    "cropped": np.array([[0.300, 0.330], [0.700, 0.330], [0.500, 0.560],
                         [0.345, 0.765], [0.655, 0.765]]),
    # the project's drawn faces
    "drawn": np.array([[0.377, 0.497], [0.623, 0.497], [0.500, 0.625],
                       [0.392, 0.725], [0.608, 0.725]]),
}
"""Template name -> the points of a frontal face, as fractions of the picture's sides."""


def template(name: str, width: int, height: int) -> Points:
    """Return the points of a template in a picture of `width` x `height` pixels.

    Raises:
        CallerError: no such template.
    """
    if name not in TEMPLATES:
        raise CallerError(f"no landmark template '{name}'; there are: {choices(TEMPLATES)}")
    return TEMPLATES[name] * [width, height]


def read_landmarks(file: Path) -> dict[str, Points]:
    """Return the points by file name of a CSV with the columns `COLUMNS`, in pixels.

    `file` is a picture's path below the data set (`train/neutral/A_B_0001.jpg`) or its name alone.

    Raises:
        CallerError: no such file, a missing column, a value that is no number, a picture twice, or
            points that are no face: the eyes or the mouth's corners in one place.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CallerError(f"no landmarks file {file}") from None
    except UnicodeDecodeError as error:
        raise CallerError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    rows = csv.DictReader(text.splitlines())
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise CallerError(f"{file}: no column {', '.join(missing)}; needed are "
                          f"{', '.join(COLUMNS)}")
    found: dict[str, Points] = {}
    for row in rows:
        place = f"{file}:{rows.line_num}"
        if row["file"] in found:
            raise CallerError(f"{place}: {row['file']} stands here a second time")
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
        raise CallerError(f"{place}: the left eye and corner of the mouth, as the viewer sees "
                          "them, must lie left of the right ones")
    return points


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True


def require_inside(points: Points, width: int, height: int, place: str) -> None:
    """Refuse landmarks of another picture, or of one that was resized since.

    Raises:
        CallerError: a point lies outside the picture.
    """
    outside = ((points < 0) | (points > [width, height])).any(axis=1)
    if outside.any():
        index = int(np.argmax(outside))
        x, y = points[index]
        raise CallerError(f"{place}: {NAMES[index]} at ({x:g}, {y:g}) lies outside the picture of "
                          f"{width} x {height} pixels")
