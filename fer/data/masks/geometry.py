"""A mean head in three dimensions, and how it lies in a picture whose landmarks are known.

Head units: half a face's width is 1; the origin lies between the eyes; x grows to the viewer's
right, y down, z towards the viewer, and z is 0 in the plane of the eyes and the mouth's corners.
Not for what is worn upon the head (`fer.data.masks.sheet`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.data.masks.landmarks import Points

Array = NDArray[np.float64]

EYE_X, NOSE_Y, NOSE_Z = 0.42, 0.47, 0.40
MOUTH_X, MOUTH_Y = 0.33, 0.92
CHIN_Y = 1.46
EAR = (0.97, 0.24, -0.78)  # where the loop of a mask goes behind the ear
FLAT = np.array([[-EYE_X, 0.0], [EYE_X, 0.0], [-MOUTH_X, MOUTH_Y], [MOUTH_X, MOUTH_Y]])
STEEPEST = 0.75  # of a unit's length: a face that is turned further shows no second eye


@dataclass(frozen=True)
class Camera:
    """A scaled orthographic view: pixels = head units @ `axes` + `origin`.

    Attributes:
        axes: (3, 2) pixels for a unit along x, y and z.
        origin: (2,) pixels, the point between the eyes.
    """

    axes: Array
    origin: Array

    def project(self, xyz: Array) -> Array:
        """Return (..., 2) pixels of (..., 3) head units."""
        return xyz @ self.axes + self.origin

    @property
    def unit(self) -> float:
        """Pixels a head unit, the geometric mean of both directions."""
        return float(np.sqrt(abs(np.linalg.det(self.axes[:2]))))

    @property
    def towards(self) -> Array:
        """The direction in head units from the head to the viewer, of length 1."""
        out = np.cross(self.axes[:, 0], self.axes[:, 1])
        return out / np.linalg.norm(out)

    def scaled(self, factor: float) -> "Camera":
        """Return the camera of the same picture at `factor` times its size."""
        return Camera(self.axes * factor, self.origin * factor)


def camera_of(points: Points) -> Camera:
    """Return the view in which the mean head's landmarks lie at `points`, (5, 2) pixels.

    Eyes and mouth are four points of one plane: they give its image by least squares; how far
    the nose's tip lies from where it would be in that plane gives the turn of the head.
    """
    flat = np.column_stack([FLAT, np.ones(4)])
    solution, *_ = np.linalg.lstsq(flat, points[[0, 1, 3, 4]], rcond=None)
    across, down, origin = solution
    unit = np.sqrt(abs(across[0] * down[1] - across[1] * down[0]))
    out = (points[2] - origin - NOSE_Y * down) / NOSE_Z
    length = float(np.hypot(*out))
    out = out * min(1.0, STEEPEST * unit / max(length, 1e-9))
    return Camera(np.stack([across, down, out]), origin)


def face_depth(x: Array, y: Array) -> Array:
    """Return z of the bare face without its nose at (x, y), any shape."""
    half = half_width(y)
    round_ = np.sqrt(np.clip(1 - (x / (1.04 * half)) ** 2, 0, None))
    chin = np.clip((y - 0.95) / 0.5, 0, None)
    return 0.92 * (round_ - 1) + 0.10 - 0.22 * chin**2


def half_width(y: Array) -> Array:
    """Return half the width of the face at height y: cheekbones, jaw, chin."""
    return np.interp(y, [-0.2, 0.35, 0.8, 1.15, 1.4, 1.7], [1.0, 1.0, 0.93, 0.76, 0.6, 0.55])
