"""The five points of a face, in the order of common detectors (MTCNN, RetinaFace, CenterFace).

Eyes, tip of the nose and corners of the mouth, from the viewer's left.
"""

import numpy as np
from numpy.typing import NDArray

from fer.errors import CallerError, choices

Points = NDArray[np.float64]  # (5, 2) pixels, x to the right, y down

NAMES = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

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


def template(name: str, width: int, height: int) -> Points:
    """Return the points of a template in a picture of `width` x `height` pixels.

    Raises:
        CallerError: no such template.
    """
    if name not in TEMPLATES:
        raise CallerError(f"no landmark template '{name}'; there are: {choices(TEMPLATES)}")
    return TEMPLATES[name] * [width, height]
