"""A 3-D mean head, its pose in an image, and the surface of a mask worn on it.

Head units: half the width of a face is 1; the origin is between the eyes; x points to the viewer's
right, y down, z towards the viewer, and z is 0 in the plane of the eyes and the mouth's corners.
A mask is a sheet with coordinates u from -1 (the viewer's left) to 1 and v from 0 (its upper edge)
to 1 (its lower edge). Colours are in `fer.data.masks.styles`, rendering in `fer.data.masks.render`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fer.data.faces.face_points import Points

Array = NDArray[np.float64]

EYE_X, NOSE_Y, NOSE_Z = 0.42, 0.47, 0.40
MOUTH_X, MOUTH_Y = 0.33, 0.92
EAR = (0.97, 0.24, -0.78)  # where the loop of a mask goes behind the ear
FLAT = np.array([[-EYE_X, 0.0], [EYE_X, 0.0], [-MOUTH_X, MOUTH_Y], [MOUTH_X, MOUTH_Y]])
STEEPEST = 0.75  # of a unit's length: beyond it the second eye is not visible
OFF_THE_SKIN = 0.03
BADLY_WORN = 0.12  # share of sampled masks worn below the nose or the mouth
NOSE_BRIDGE_WIDTH, CLOTH_WIDTH = 0.17, 0.52


@dataclass(frozen=True)
class Camera:
    """A scaled orthographic view: pixels = head units @ `axes` + `origin`.

    Attributes:
        axes: (3, 2) pixels per unit along x, y and z.
        origin: (2,) pixels, the point between the eyes.
    """

    axes: Array
    origin: Array

    def project(self, xyz: Array) -> Array:
        """Return (..., 2) pixels of (..., 3) head units."""
        return xyz @ self.axes + self.origin

    @property
    def unit(self) -> float:
        """Pixels per head unit, the geometric mean of both directions."""
        return float(np.sqrt(abs(np.linalg.det(self.axes[:2]))))

    @property
    def towards(self) -> Array:
        """The unit vector from the head to the viewer, in head coordinates."""
        out = np.cross(self.axes[:, 0], self.axes[:, 1])
        return out / np.linalg.norm(out)

    def scaled(self, factor: float) -> "Camera":
        """Return the camera of the same image at `factor` times its size."""
        return Camera(self.axes * factor, self.origin * factor)


def camera_of(points: Points) -> Camera:
    """Return the camera that projects the mean head's landmarks to `points`, (5, 2) pixels.

    Eyes and mouth are four points in one plane, whose image is fitted by least squares. The offset
    of the nose tip from its position in that plane gives the rotation of the head.
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
    """Return z of the face without its nose at (x, y), any shape."""
    half = half_width(y)
    round_ = np.sqrt(np.clip(1 - (x / (1.04 * half)) ** 2, 0, None))
    chin = np.clip((y - 0.95) / 0.5, 0, None)
    return 0.92 * (round_ - 1) + 0.10 - 0.22 * chin**2


def half_width(y: Array) -> Array:
    """Return half the width of the face at height y: cheekbones, jaw, chin."""
    return np.interp(y, [-0.2, 0.35, 0.8, 1.15, 1.4, 1.7], [1.0, 1.0, 0.93, 0.76, 0.6, 0.55])


@dataclass(frozen=True)
class Cut:
    """The outline and volume of a mask, before slip, tilt and looseness.

    Attributes:
        nose: y of the upper edge on the nose.
        side_top: y of the upper corners.
        chin: y of the lower edge in the middle.
        side_low: y of the lower corners.
        reach: extent towards the ears, upper and lower corner; 1 = the face's outline.
        bulge: distance from the face in front of the mouth.
        ridge: 0 a round front, 1 a sharp fold from nose to chin.
        wave: dip of the upper edge between nose and cheek, as in cup masks.
        curve: of the edges: 1 straight from centre to side, larger is rounder.
    """

    nose: float = 0.24
    side_top: float = 0.42
    chin: float = 1.50
    side_low: float = 1.02
    reach: tuple[float, float] = (0.90, 0.88)
    bulge: float = 0.05
    ridge: float = 0.0
    wave: float = 0.0
    curve: float = 1.7


@dataclass(frozen=True)
class Fit:
    """How a mask is worn.

    Attributes:
        slip: downward shift in head units: 0.3 exposes the nose, 0.8 the mouth too.
        tilt: degrees, clockwise from the viewer's perspective.
        loose: 0 tight; 1 loose at the cheeks, with wrinkles.
    """

    slip: float = 0.0
    tilt: float = 0.0
    loose: float = 0.0


def sampled_fit(rng: np.random.Generator) -> Fit:
    """Return how a mask of the sampled ones is worn."""
    slip = rng.uniform(-0.04, 0.08)
    if rng.random() < BADLY_WORN:
        slip = rng.uniform(0.3, 0.42) if rng.random() < 0.7 else rng.uniform(0.75, 0.9)
    return Fit(slip, rng.normal(0, 1.5), rng.beta(1, 3))


def surface(cut: Cut, fit: Fit, u: Array, v: Array) -> Array:
    """Return the points of the sheet at (u, v), any shape: (..., 3) head units."""
    side = np.abs(u) ** cut.curve
    top = cut.nose + (cut.side_top - cut.nose) * side + cut.wave * np.sin(np.pi * np.abs(u)) ** 2
    bottom = cut.chin + (cut.side_low - cut.chin) * side
    # a mask that slips hangs on the chin, so its lower edge moves less
    y = top + (bottom - top) * v + fit.slip * (1 - 0.75 * v)
    reach = cut.reach[0] + (cut.reach[1] - cut.reach[0]) * v
    x = u * half_width(y) * reach
    turn = np.radians(fit.tilt)
    x, y = x - np.sin(turn) * (y - 0.8), y + np.sin(turn) * x
    z = face_depth(x, y) + OFF_THE_SKIN + _lift(cut, u, v, x, y) + 0.07 * fit.loose * (1 - v * v)
    return np.stack([x, y, z], axis=-1)


def _lift(cut: Cut, u: Array, v: Array, x: Array, y: Array) -> Array:
    """Return the distance of the sheet from the face, due to the nose and to its own shape."""
    tent = np.interp(y, [-0.15, 0.47, 0.60, 0.95, 1.35, 1.6], [0.06, 0.33, 0.32, 0.20, 0.08, 0.02])
    width = NOSE_BRIDGE_WIDTH + (CLOTH_WIDTH - NOSE_BRIDGE_WIDTH) * np.clip(2.2 * v, 0, 1)
    round_ = np.exp(-((x / width) ** 2))
    sharp = np.clip(1 - np.abs(x) / (1.35 * width), 0, None)
    across = round_ + (sharp - round_) * cut.ridge
    belly = cut.bulge * np.sin(np.pi * np.clip(v, 0, 1)) ** 0.8
    return tent * across + belly * ((1 - u * u) * (1 - cut.ridge) + across * cut.ridge)


def normals(points: Array) -> Array:
    """Return the outward unit normals of a grid of points: (V, U, 3)."""
    along_v, along_u = np.gradient(points, axis=0), np.gradient(points, axis=1)
    out = np.cross(along_u, along_v)
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)


def brightness(normal: Array, light: Array, ambient: float = 0.55) -> Array:
    """Return the brightness of white cloth, about 1 if it faces the light: (...,).

    Args:
        normal: (..., 3) of length 1.
        light: (3,) towards the light, of any length.
    """
    facing = np.clip(normal @ (light / np.linalg.norm(light)), 0, None)
    return ambient + (1.04 - ambient) * facing


def varied(cut: Cut, rng: np.random.Generator, spread: float = 0.04) -> Cut:
    """Return a cut with normally distributed changes of its lengths."""
    nose, side_top, chin, side_low = rng.normal(0, spread, 4)
    return replace(cut, nose=cut.nose + nose, side_top=cut.side_top + side_top,
                   chin=cut.chin + chin, side_low=cut.side_low + side_low)
