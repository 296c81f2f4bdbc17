"""Alignment of a face into a frame: rotation, size and place, but no distortion.

A frame says where the five points of a face lie in pictures of one size. Sets that are compared
need the same frame: a crop that differs between them would be part of the gap.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.faces.detector import Face
from fer.data.faces.face_points import TEMPLATES, Points, template
from fer.errors import CallerError, choices

SIZES = {"funnelled": (250, 250), "cropped": (224, 224), "drawn": (250, 250)}
"""Template -> width and height of its pictures in pixels."""


@dataclass(frozen=True)
class Frame:
    """Where faces lie in pictures of one size.

    Attributes:
        name: of the template or the set.
        size: width and height in pixels.
        points: of an upright face, float64 (5, 2) pixels.
    """

    name: str
    size: tuple[int, int]
    points: Points


@dataclass(frozen=True)
class Similarity:
    """The map z -> factor * z + shift on the plane of pixels, as complex numbers x + iy."""

    factor: complex
    shift: complex

    @property
    def scale(self) -> float:
        """Pixels of the target for each pixel of the source."""
        return abs(self.factor)

    @property
    def inverse(self) -> "Similarity":
        """The map back."""
        return Similarity(1 / self.factor, -self.shift / self.factor)

    def __call__(self, points: Points) -> Points:
        """Map points (..., 2)."""
        moved = self.factor * (points[..., 0] + 1j * points[..., 1]) + self.shift
        return np.stack([moved.real, moved.imag], -1)


def frame_of_template(name: str = "funnelled") -> Frame:
    """Return the frame of a template of `fer.data.masks.landmarks`.

    Raises:
        CallerError: no such template.
    """
    if name not in SIZES:
        raise CallerError(f"no frame '{name}'; a data set, or one of: {choices(TEMPLATES)}")
    return Frame(name, SIZES[name], template(name, *SIZES[name]))


def similarity(source: Points, target: Points) -> Similarity:
    """Return the similarity that maps points closest to others: least squares (Umeyama 1991).

    Args:
        source, target: (N, 2), not all equal.
    """
    z, w = (points[:, 0] + 1j * points[:, 1] for points in (source, target))
    centred = z - z.mean()
    factor = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred)
    return Similarity(complex(factor), complex(w.mean() - factor * z.mean()))


def align(picture: NDArray[np.uint8], face: Face, frame: Frame) -> NDArray[np.uint8]:
    """Return the picture of a face in a frame, uint8 RGB of the frame's size; black outside.

    Args:
        picture: uint8 RGB (H, W, 3).
        face: found in it.
    """
    image, points = Image.fromarray(picture), face.points
    reduction = similarity(points, frame.points).scale
    if reduction < 1:  # Pillow's transform does not filter
        size = (max(1, round(image.width * reduction)), max(1, round(image.height * reduction)))
        points = points * (np.array(size) / image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    back = similarity(points, frame.points).inverse
    a, b, shift = back.factor.real, back.factor.imag, back.shift
    moved = image.transform(frame.size, Image.Transform.AFFINE,
                            (a, -b, shift.real, b, a, shift.imag), Image.Resampling.BICUBIC)
    return np.asarray(moved)
