"""Head geometry and drawing primitives of drawn faces.

Face units: half the width of a head is 1, the origin is between eyes and nose, x points to the
viewer's right, y down, z towards the viewer. Features are points on an ellipsoid that is rotated
and projected, so they and the masks follow the head's orientation.
"""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from fer.data.synthetic.parameters import CANVAS, CIRCLE, RGB, SIZE, UNIT, Face, Points


class Head:
    """The rotated head, which maps face units to canvas pixels."""

    def __init__(self, face: Face) -> None:
        look = face.look
        yaw, pitch, roll = np.radians([look.yaw, look.pitch, look.roll])
        turn_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)],
                           [0, np.sin(pitch), np.cos(pitch)]])  # fmt: skip
        turn_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0],
                           [-np.sin(yaw), 0, np.cos(yaw)]])  # fmt: skip
        turn_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0],
                           [0, 0, 1]])  # fmt: skip
        self.turn = turn_z @ turn_x @ turn_y
        self.scale = UNIT * look.zoom
        self.centre = np.array([CANVAS / 2, CANVAS * 0.52]) + look.shift
        self.length = face.person.length

    def at(self, xyz: Points) -> Points:
        """Project (n, 3) face units to (n, 2) canvas pixels."""
        scaled = xyz * np.array([1.0, self.length, 1.0])
        return (scaled @ self.turn.T)[:, :2] * self.scale + self.centre

    def on(self, xy: Points | list, lift: float | Points = 0.0) -> Points:
        """Project points on the face's surface, raised by `lift`."""
        xy = np.asarray(xy, dtype=float)
        inside = 1 - (xy[:, 0] / 1.12) ** 2 - (xy[:, 1] / 1.4) ** 2
        z = 0.85 * np.sqrt(np.clip(inside, 0, None)) + lift
        return self.at(np.column_stack([xy, z]))

    def flat(self, xy: Points | list, z: float = 0.0) -> Points:
        """Project points in the plane at depth `z`: outlines, hair, ears, neck."""
        xy = np.asarray(xy, dtype=float)
        return self.at(np.column_stack([xy, np.full(len(xy), z)]))


_STEP = np.linspace(0, 1, 7)[:-1, None] ** np.arange(4)
_SPLINE = _STEP @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


def closed(points: Points | list) -> Points:
    """Return a closed Catmull-Rom curve through `points`."""
    p = np.asarray(points, dtype=float)
    around = np.stack([np.roll(p, k, axis=0) for k in (1, 0, -1, -2)], axis=1)
    return np.einsum("sk,mkd->msd", _SPLINE, around).reshape(-1, p.shape[1])


def mirror(right: list) -> Points:
    """Return the symmetric outline whose right half passes through `right`, top to bottom."""
    points = np.asarray(right, dtype=float)
    return closed(np.concatenate([points, (points * [-1, 1])[::-1]]))


_LEFT = np.array([-1.0, 1.0])


@cache
def _swell(points: int, taper: float) -> Points:
    return np.sin(np.linspace(0.12, np.pi - 0.12, points)) ** taper


def ribbon(line: Points, width: float, taper: float = 1.0) -> Points:
    """Return the outline of a pen stroke along `line`, `width` canvas pixels at its thickest."""
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    length = np.hypot(along[:, 0], along[:, 1]) + 1e-9
    half = along[:, ::-1] * _LEFT * (_swell(len(line), taper) * (width / 2) / length)[:, None]
    return np.concatenate([line + half, (line - half)[::-1]])


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    """Return the outline of an ellipse, (n, 2)."""
    return CIRCLE * [rx, ry] + [x, y]


def lowered(line: Points, by: float) -> Points:
    """Return a line moved down."""
    return line + np.array([0, by])


def tint(colour: RGB, factor: float, towards: RGB = (0, 0, 0)) -> RGB:
    """Return `colour` with 1 - factor of `towards` mixed in."""
    r, g, b = (round(c * factor + t * (1 - factor)) for c, t in zip(colour, towards, strict=True))
    return min(r, 255), min(g, 255), min(b, 255)


class Pen:
    """Fills shapes on a picture, blending where alpha (0...255) is below 255."""

    def __init__(self, image: Image.Image, scale: float = 1.0) -> None:
        self.image, self.scale = image, scale
        self.ink = ImageDraw.Draw(image, "RGBA")

    def fill(self, outline: Points, colour: RGB, alpha: float = 255) -> None:
        """Fill an outline in face coordinates."""
        self.ink.polygon((outline * self.scale).ravel().tolist(), fill=(*colour, int(alpha)))

    def stroke(self, line: Points, colour: RGB, width: float, alpha: float = 255) -> None:
        """Draw a line of a width in pixels."""
        self.fill(ribbon(line, width), colour, alpha)


def outline_stencil(outline: Points) -> Image.Image:
    """Return the inside of an outline as a mask at canvas size."""
    stencil = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(stencil).polygon(outline.ravel().tolist(), fill=255)
    return stencil


def enlarged(layer: Image.Image) -> Image.Image:
    """Return a soft layer at canvas size; downsampling inverts the nearest-neighbour doubling."""
    smooth = layer.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return smooth.resize((CANVAS, CANVAS), Image.Resampling.NEAREST)
