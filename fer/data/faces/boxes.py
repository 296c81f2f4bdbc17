"""Boxes around faces: left, top, right, bottom in pixels of the picture after its EXIF turn."""

import math
from collections.abc import Mapping, Sequence

Box = tuple[float, float, float, float]


def is_box(edges: Sequence[float]) -> bool:
    """Return whether these are four finite edges with something between them."""
    return (len(edges) == 4 and all(map(math.isfinite, edges))
            and edges[0] < edges[2] and edges[1] < edges[3])


def overlap(one: Box, two: Box) -> float:
    """Return intersection over union of two boxes, 0 to 1."""
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, two))
    return common / (areas - common)


def within_picture(box: Box, width: int, height: int) -> Box | None:
    """Return the part of a box within a picture; None if it is outside."""
    left, right = (min(max(edge, 0.0), width) for edge in (box[0], box[2]))
    top, bottom = (min(max(edge, 0.0), height) for edge in (box[1], box[3]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def middle_square(width: int, height: int) -> Box:
    """Return the square around the centre of a picture, half as wide as its shorter side."""
    side = min(width, height) / 2
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def agreed_box(boxes: Mapping[str, Box]) -> Box | None:
    """Return the box that overlaps most with those of all annotators, the first of equal ones.

    It is one that somebody drew: the mean of boxes around two faces is around neither.

    Args:
        boxes: annotator -> box.
    """
    return max(boxes.values(), default=None, key=lambda one: sum(
        overlap(one, other) for other in boxes.values()))
