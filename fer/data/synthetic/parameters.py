"""Parameters of a drawn face: person, expression, camera and light, mask.

Sampled in `fer.data.synthetic.sampling`, drawn in `fer.data.synthetic.face`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]
Points = NDArray[np.float64]  # (n, 2) or (n, 3)
SIZE = 250  # side in pixels, as in LFW
CANVAS = 2 * SIZE  # drawn at twice the size and downsampled, for anti-aliasing
SOFT = SIZE // 2  # skin and shadows have no fine detail: drawn at half the size, and blurred
UNIT = 146.0  # canvas pixels per face unit
EYE_Y, BROW_Y, MOUTH_Y = -0.08, -0.4, 0.72


@dataclass(frozen=True)
class Person:
    """Constant features of a person; lengths in face units, factors relative to the average 1."""

    skin: RGB
    hair: RGB
    iris: RGB
    lip: RGB
    length: float
    jaw: float
    chin: float
    eye: float
    eye_gap: float
    slant: float
    brow: float
    brow_tilt: float
    brow_height: float
    nose: float
    mouth: float
    resting_corner: float
    lip_full: float
    style: str
    beard: float
    age: float
    glasses: bool


@dataclass(frozen=True)
class Expression:
    """Displacement of each part of the face, from 0 = relaxed to about 1 = maximum."""

    inner: float = 0.0  # inner brows up
    outer: float = 0.0  # outer brows up
    furrow: float = 0.0  # brows together
    lid: float = 0.0  # upper lids up
    squint: float = 0.0  # lower lids up
    cheek: float = 0.0  # cheeks up
    corner: float = 0.0  # mouth corners up
    wide: float = 0.0  # mouth wide
    gap: float = 0.0  # mouth open
    square: float = 0.0  # open mouth square, teeth bared


@dataclass(frozen=True)
class Look:
    """Features that vary between pictures; angles in degrees, light factors around 1."""

    orientation: str
    yaw: float
    pitch: float
    roll: float
    frame: float  # rotation of the photo by funnelling, which tilts its black corners
    gaze: float
    shift: tuple[float, float]  # canvas pixels
    zoom: float
    backdrop: tuple[RGB, RGB]
    cloth: RGB
    light: float  # direction of the light, -1 left ... 1 right
    gain: float
    cast: tuple[float, float, float]
    contrast: float
    blur: float  # picture pixels
    noise: float  # grey levels
    quality: int  # of the JPEG
    grain: int  # seed of all texture


@dataclass(frozen=True)
class Mask:
    """A worn mask; `kind` is flat, surgical, cloth, cone or bandana."""

    kind: str
    colour: RGB
    second: RGB
    pattern: str = "plain"  # plain, stripes, dots or checks
    top: float = 0.06  # y of the upper edge at the nose; above 0.4 the nose is exposed
    folds: float = 0.0
    strap: RGB = (235, 235, 235)
    behind_head: bool = False


@dataclass(frozen=True)
class Face:
    """The parameters of one picture."""

    person: Person
    expression: Expression
    look: Look
    mask: Mask | None = None


T = np.linspace(-1, 1, 17)
CIRCLE = np.column_stack([np.cos(np.pi * T[:-1]), np.sin(np.pi * T[:-1])])
HAIRLINE: dict[str, list] = {
    "short": [(0.98, -0.06), (0.9, -0.42), (0.72, -0.84), (0.3, -0.93), (-0.3, -0.9),
              (-0.72, -0.82), (-0.9, -0.42), (-0.98, -0.06)],
    "side": [(0.98, -0.06), (0.91, -0.4), (0.8, -0.66), (0.42, -0.74), (-0.1, -0.86), (-0.5, -1.05),
             (-0.8, -0.8), (-0.91, -0.4), (-0.98, -0.06)],
    "fringe": [(1.02, 0.8), (0.93, 0.0), (0.86, -0.56), (0.4, -0.63), (0, -0.6), (-0.4, -0.63),
               (-0.86, -0.56), (-0.93, 0.0), (-1.02, 0.8)],
    "bob": [(1.02, 0.85), (0.93, 0.1), (0.85, -0.5), (0.6, -0.85), (0.15, -1.02), (-0.4, -0.78),
            (-0.85, -0.5), (-0.93, 0.1), (-1.02, 0.85)],
    "receding": [(0.98, -0.06), (0.92, -0.42), (0.84, -0.8), (0.56, -1.1), (0, -1.0),
                 (-0.56, -1.1), (-0.84, -0.8), (-0.92, -0.42), (-0.98, -0.06)],
}  # fmt: skip
HAIRLINE |= {"long": HAIRLINE["bob"], "bun": HAIRLINE["short"], "curly": HAIRLINE["short"],
              "afro": HAIRLINE["short"], "buzz": HAIRLINE["short"]}  # fmt: skip
STYLES = (*HAIRLINE, "bald")
