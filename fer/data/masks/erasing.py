"""Random erasing of the lower face: a rectangle of noise, the cheap baseline of drawn masks.

Zhong et al. 2020 (10.1609/aaai.v34i07.7000) with random values, but restricted to where masks are.
It knows the landmarks of the template only, and neither shape nor light of a mask.
"""

import numpy as np

from fer.data.faces.face_points import Points
from fer.data.masks.render import Layer

ERASED = "erased"  # beside the styles of masks; not one of `all`
LEAST = 0.5  # of the lower face's width and height
WIDE, DEEP = 1.05, 0.95  # half its width in eye distances; below the mouth in nose-to-mouth ones


def erase(points: Points, rng: np.random.Generator) -> Layer:
    """Return a rectangle of noise within the lower face.

    Args:
        points: (5, 2) pixels: eyes, nose, corners of the mouth.
    """
    eyes, nose, mouth = points[:2].mean(0), points[2], points[3:].mean(0)
    reach = WIDE * float(np.linalg.norm(points[1] - points[0]))
    top, bottom = (eyes[1] + nose[1]) / 2, mouth[1] + DEEP * abs(mouth[1] - nose[1])
    y0, y1 = _part(float(top), float(bottom), rng)
    x0, x1 = _part(float(nose[0]) - reach, float(nose[0]) + reach, rng)
    shape = max(y1 - y0, 1), max(x1 - x0, 1)
    return Layer(left=x0, top=y0, colour=rng.integers(0, 256, (*shape, 3), np.uint8),
                 alpha=np.full(shape, 255, np.uint8), shade=np.zeros(shape, np.uint8), lit=False)


def _part(low: float, high: float, rng: np.random.Generator) -> tuple[int, int]:
    """Return a random part of an interval, at least `LEAST` of it, in whole pixels."""
    length = (high - low) * rng.uniform(LEAST, 1)
    start = rng.uniform(low, high - length)
    return round(start), round(start + length)
