"""Find the landmarks of faces with MediaPipe's Face Landmarker (`pip install .[landmarks]`).

The library brings no model: Google's `face_landmarker.task` is put into `$FER_CACHE/weights` once,
on a machine with a network. Not for templates and CSV files (`fer.data.masks.landmarks`).
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.data.masks.landmarks import Points
from fer.errors import CallerError

MODEL = "face_landmarker.task"
SOURCE = ("https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/"
          "float16/1/face_landmarker.task")
# vertices of MediaPipe's face mesh: both corners of an eye, the nose's tip, a corner of the mouth
MESH = ((33, 133), (362, 263), (1,), (61,), (291,))


def require_detector(cache: Path) -> None:
    """Refuse to begin without the library or its model.

    Raises:
        CallerError: says which, and how to get it.
    """
    try:
        import mediapipe  # noqa: F401
    except ImportError:
        raise CallerError("landmarks by detection need MediaPipe: pip install '.[landmarks]'; or "
                          "name a template or a CSV file") from None
    model = cache / "weights" / MODEL
    if not model.is_file():
        raise CallerError(f"MediaPipe's model is missing: put {SOURCE} at {model}")


@lru_cache(maxsize=1)
def _landmarker(model: str) -> Any:
    from mediapipe.tasks.python import vision  # slow to import

    return vision.FaceLandmarker.create_from_model_path(model)


def detect(picture: NDArray[np.uint8], cache: Path) -> Points | None:
    """Return the landmarks of the largest face, (5, 2) pixels, or None where none is found.

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
