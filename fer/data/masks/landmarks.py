"""Facial landmarks of a set's pictures: from a template, from a CSV file, or detected.

Five points per face, in the order of common detectors (MTCNN, RetinaFace): eyes, tip of the nose
and corners of the mouth, from the viewer's left. Detection uses MediaPipe's Face Landmarker (`pip
install .[landmarks]`), which includes no model: Google's `face_landmarker.task` must be copied to
`$FER_CACHE/weights` once, on a machine with network access.
"""

import csv
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.errors import CallerError, choices

Points = NDArray[np.float64]  # (5, 2) pixels, x to the right, y down

NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
COLUMNS = ("file", *(f"{name}_{axis}" for name in NAMES for axis in "xy"))

TEMPLATES: dict[str, Points] = {
    # LFW funnelled: usual proportions within rows 70-195 and columns 78-172 of 250 x 250 pixels,
    # the face crop of scikit-learn's fetch_lfw_people
    "funnelled": np.array([[0.418, 0.452], [0.582, 0.452], [0.500, 0.548],
                           [0.436, 0.640], [0.564, 0.640]]),
    # a square from ear to ear and from brow to chin, like the crops of detectors
    "cropped": np.array([[0.300, 0.330], [0.700, 0.330], [0.500, 0.560],
                         [0.345, 0.765], [0.655, 0.765]]),
    # the project's drawn faces
    "drawn": np.array([[0.377, 0.497], [0.623, 0.497], [0.500, 0.625],
                       [0.392, 0.725], [0.608, 0.725]]),
}
"""Template name -> the points of a frontal face, as fractions of the image sides."""
MODEL = "face_landmarker.task"
SOURCE = ("https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
          "float16/1/face_landmarker.task")
# vertices of MediaPipe's face mesh: both corners of each eye, tip of the nose, corners of the mouth
MESH = ((33, 133), (362, 263), (1,), (61,), (291,))
DETECT = "detect"


def template(name: str, width: int, height: int) -> Points:
    """Return the points of a template in a picture of `width` x `height` pixels.

    Raises:
        CallerError: no such template.
    """
    if name not in TEMPLATES:
        raise CallerError(f"no landmark template '{name}'; there are: {choices(TEMPLATES)}")
    return TEMPLATES[name] * [width, height]


def read_landmarks(file: Path) -> dict[str, Points]:
    """Return the points in pixels, by file name, of a CSV with the columns `COLUMNS`.

    `file` is a picture's path below the data set (`train/neutral/A_B_0001.jpg`) or only its name.

    Raises:
        CallerError: no such file, a missing column, a value that is not a number, a duplicate
            picture, or invalid points: a left eye or mouth corner not left of the right one.
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


def require_detector(cache: Path) -> None:
    """Raise if MediaPipe or its model is missing.

    Raises:
        CallerError: names what is missing, and how to get it.
    """
    try:
        import mediapipe  # noqa: F401
    except ImportError:
        raise CallerError("landmark detection needs MediaPipe: pip install '.[landmarks]'; or "
                          "use a template or a CSV file") from None
    model = cache / "weights" / MODEL
    if not model.is_file():
        raise CallerError(f"MediaPipe's model is missing: download {SOURCE} to {model}")


@lru_cache(maxsize=1)
def _landmarker(model: str) -> Any:
    from mediapipe.tasks.python import vision  # slow to import

    return vision.FaceLandmarker.create_from_model_path(model)


def detect(picture: NDArray[np.uint8], cache: Path) -> Points | None:
    """Return the landmarks of the largest face, (5, 2) pixels, or None if none is found.

    Args:
        picture: uint8 RGB (H, W, 3).
        cache: `$FER_CACHE`.
    """
    import mediapipe

    image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB,
                            data=np.ascontiguousarray(picture))
    faces = _landmarker(str(cache / "weights" / MODEL)).detect(image).face_landmarks
    size = np.array([picture.shape[1], picture.shape[0]], float)
    meshes = [np.array([[point.x, point.y] for point in face]) * size for face in faces]
    if not meshes:
        return None
    largest = max(meshes, key=lambda mesh: float(np.prod(np.ptp(mesh, axis=0))))
    return np.stack([largest[list(vertices)].mean(0) for vertices in MESH])


@dataclass(frozen=True)
class Faces:
    """Source of landmarks: exactly one of a template, a table, or detection.

    Attributes:
        template: name of a template.
        table: file -> (5, 2) pixels; the file is a path below the set or a name.
        cache: `$FER_CACHE`, which contains the detector's model.
    """

    template: str = ""
    table: Mapping[str, Points] | None = None
    cache: Path | None = None

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
        if self.cache is not None:
            return detect(picture, self.cache)
        if self.table is None:
            return template(self.template, width, height)
        points = self.known(file)
        assert points is not None, file
        require_inside(points, width, height, file)
        return points


def find_faces(name: str, cache: Path) -> Faces:
    """Return the source of landmarks: a template, a CSV file, or `detect`.

    Raises:
        CallerError: no such source, an invalid table of landmarks, or no detector.
    """
    if name in TEMPLATES:
        return Faces(template=name)
    if name == DETECT:
        require_detector(cache)
        return Faces(cache=cache)
    if name.lower().endswith(".csv"):
        return Faces(table=read_landmarks(Path(name)))
    raise CallerError(f"no landmarks '{name}'; a CSV file, or one of: "
                      f"{choices([*TEMPLATES, DETECT])}")
