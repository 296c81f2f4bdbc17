"""The surface of a worn mask over a mean head, and how that is lit.

A mask is a sheet with coordinates u from -1 (the viewer's left) to 1 and v from 0 (its upper edge)
to 1 (its lower edge). Lengths are head units, see `fer.data.masks.geometry`. Not for colours
(`fer.data.masks.styles`), nor for pixels (`fer.data.masks.render`).
"""

from dataclasses import dataclass

import numpy as np

from fer.data.masks.geometry import Array, face_depth, half_width

OFF_THE_SKIN = 0.03
NOSE_BRIDGE_WIDTH, CLOTH_WIDTH = 0.17, 0.52


@dataclass(frozen=True)
class Cut:
    """The outline and the volume of a mask, before it is worn badly.

    Attributes:
        nose: y of the upper edge on the nose.
        side_top: y of the upper corners.
        chin: y of the lower edge in the middle.
        side_low: y of the lower corners.
        reach: how far it goes towards the ears, upper and lower corner; 1 = the face's outline.
        bulge: how far it stands off in front of the mouth.
        ridge: 0 a round front, 1 a sharp fold from nose to chin.
        wave: how much the upper edge dips between nose and cheek, as cups do.
        curve: of the edges: 1 straight from middle to side, above it rounder.
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
        slip: how far it slid down, in head units: 0.3 bares the nose, 0.8 the mouth too.
        tilt: degrees, clockwise as the viewer sees it.
        loose: 0 tight; 1 stands off at the cheeks and wrinkles.
    """

    slip: float = 0.0
    tilt: float = 0.0
    loose: float = 0.0


def surface(cut: Cut, fit: Fit, u: Array, v: Array) -> Array:
    """Return the points of the sheet at (u, v), any shape: (..., 3) head units."""
    side = np.abs(u) ** cut.curve
    top = cut.nose + (cut.side_top - cut.nose) * side + cut.wave * np.sin(np.pi * np.abs(u)) ** 2
    bottom = cut.chin + (cut.side_low - cut.chin) * side
    # what slid down hangs on the chin: its lower edge moves less
    y = top + (bottom - top) * v + fit.slip * (1 - 0.75 * v)
    reach = cut.reach[0] + (cut.reach[1] - cut.reach[0]) * v
    x = u * half_width(y) * reach
    turn = np.radians(fit.tilt)
    x, y = x - np.sin(turn) * (y - 0.8), y + np.sin(turn) * x
    z = face_depth(x, y) + OFF_THE_SKIN + _lift(cut, u, v, x, y) + 0.07 * fit.loose * (1 - v * v)
    return np.stack([x, y, z], axis=-1)


def _lift(cut: Cut, u: Array, v: Array, x: Array, y: Array) -> Array:
    """Return how far the sheet stands off the bare face: over the nose, and by its own shape."""
    tent = np.interp(y, [-0.15, 0.47, 0.60, 0.95, 1.35, 1.6], [0.06, 0.33, 0.32, 0.20, 0.08, 0.02])
    width = NOSE_BRIDGE_WIDTH + (CLOTH_WIDTH - NOSE_BRIDGE_WIDTH) * np.clip(2.2 * v, 0, 1)
    round_ = np.exp(-((x / width) ** 2))
    sharp = np.clip(1 - np.abs(x) / (1.35 * width), 0, None)
    across = round_ + (sharp - round_) * cut.ridge
    belly = cut.bulge * np.sin(np.pi * np.clip(v, 0, 1)) ** 0.8
    return tent * across + belly * ((1 - u * u) * (1 - cut.ridge) + across * cut.ridge)


def normals(points: Array) -> Array:
    """Return the directions away from the head of a grid of points: (V, U, 3), of length 1."""
    along_v, along_u = np.gradient(points, axis=0), np.gradient(points, axis=1)
    out = np.cross(along_u, along_v)
    return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)


def brightness(normal: Array, light: Array, ambient: float = 0.55) -> Array:
    """Return how bright white cloth looks, about 1 where it faces the light: (...,).

    Args:
        normal: (..., 3) of length 1.
        light: (3,) towards the light, of any length.
    """
    facing = np.clip(normal @ (light / np.linalg.norm(light)), 0, None)
    return ambient + (1.04 - ambient) * facing
