"""One drawn face: its parameters and the code that draws it.

For the project's default data, which are drawings and no evidence about people. Parameters are
sampled and sets are written in `fer.data.synthetic.sets`. Everything here is a pure function of its
arguments; random texture (background, hair strands, sensor noise) is seeded by `Look.grain`.

Face units: half the width of a head is 1, the origin is between eyes and nose, x points to the
viewer's right, y down, z towards the viewer. Features are points on an ellipsoid that is rotated
and projected, so they and the masks follow the head's orientation.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
Points = NDArray[np.float64]  # (n, 2) or (n, 3)

SIZE = 250  # side in pixels, as in LFW
CANVAS = 2 * SIZE  # drawn at twice the size and downsampled, for anti-aliasing
SOFT = SIZE // 2  # skin and shadows have no fine detail: drawn at half the size, and blurred
UNIT = 146.0  # canvas pixels per face unit
EYE_Y, BROW_Y, MOUTH_Y = -0.08, -0.4, 0.72
WHITE_MASK = (244, 246, 247)


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


def draw(face: Face) -> Image.Image:
    """Return the 250x250 RGB picture of `face`, with its mask drawn into the scene if it has one.

    A `flat` mask is pasted onto the finished picture without its light, like KDDI's.
    """
    if face.mask is not None and face.mask.kind == "flat":
        return draw_twins(face)[1]
    return _finish(_scene(face), face.look)


def draw_twins(face: Face) -> tuple[Image.Image, Image.Image]:
    """Return (unmasked, with a flat white mask); `face.mask` is ignored."""
    plain = _finish(_scene(Face(face.person, face.expression, face.look)), face.look)
    cover = Image.new("L", (CANVAS, CANVAS))
    head = _Head(face)
    pen = ImageDraw.Draw(cover)
    flat = Mask("flat", WHITE_MASK, WHITE_MASK)
    for strap in _straps(head, flat):
        pen.polygon(strap.ravel().tolist(), fill=170)
    pen.polygon(_sheet_edge(head, flat).ravel().tolist(), fill=255)
    masked = plain.copy()
    masked.paste(WHITE_MASK, (0, 0), cover.reduce(2))
    return plain, masked


def landmarks(face: Face) -> Points:
    """Return the landmarks (eyes, nose, mouth), (5, 2) picture pixels, from the viewer's left."""
    head, person = _Head(face), face.person
    corner, gap = 0.41 * person.mouth, person.eye_gap
    flat = head.on([(-gap, EYE_Y), (gap, EYE_Y), (-corner, MOUTH_Y), (corner, MOUTH_Y)], 0.05)
    tip = head.on([(0.0, 0.33)], 0.2)
    return np.concatenate([flat[:2], tip, flat[2:]]) * SIZE / CANVAS


class _Head:
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


_T = np.linspace(-1, 1, 17)
_CIRCLE = np.column_stack([np.cos(np.pi * _T[:-1]), np.sin(np.pi * _T[:-1])])
_STEP = np.linspace(0, 1, 7)[:-1, None] ** np.arange(4)
_SPLINE = _STEP @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2


def _closed(points: Points | list) -> Points:
    """Return a closed Catmull-Rom curve through `points`."""
    p = np.asarray(points, dtype=float)
    around = np.stack([np.roll(p, k, axis=0) for k in (1, 0, -1, -2)], axis=1)
    return np.einsum("sk,mkd->msd", _SPLINE, around).reshape(-1, p.shape[1])


def _mirror(right: list) -> Points:
    """Return the symmetric outline whose right half passes through `right`, top to bottom."""
    points = np.asarray(right, dtype=float)
    return _closed(np.concatenate([points, (points * [-1, 1])[::-1]]))


_LEFT = np.array([-1.0, 1.0])


@cache
def _swell(points: int, taper: float) -> Points:
    return np.sin(np.linspace(0.12, np.pi - 0.12, points)) ** taper


def _ribbon(line: Points, width: float, taper: float = 1.0) -> Points:
    """Return the outline of a pen stroke along `line`, `width` canvas pixels at its thickest."""
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    length = np.hypot(along[:, 0], along[:, 1]) + 1e-9
    half = along[:, ::-1] * _LEFT * (_swell(len(line), taper) * (width / 2) / length)[:, None]
    return np.concatenate([line + half, (line - half)[::-1]])


def _ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    return _CIRCLE * [rx, ry] + [x, y]


def _lowered(line: Points, by: float) -> Points:
    return line + np.array([0, by])


def _tint(colour: RGB, factor: float, towards: RGB = (0, 0, 0)) -> RGB:
    """Return `colour` with 1 - factor of `towards` mixed in."""
    r, g, b = (round(c * factor + t * (1 - factor)) for c, t in zip(colour, towards, strict=True))
    return min(r, 255), min(g, 255), min(b, 255)


class _Pen:
    """Fills shapes on a picture, blending where alpha (0...255) is below 255."""

    def __init__(self, image: Image.Image, scale: float = 1.0) -> None:
        self.image, self.scale = image, scale
        self.ink = ImageDraw.Draw(image, "RGBA")

    def fill(self, outline: Points, colour: RGB, alpha: float = 255) -> None:
        self.ink.polygon((outline * self.scale).ravel().tolist(), fill=(*colour, int(alpha)))

    def stroke(self, line: Points, colour: RGB, width: float, alpha: float = 255) -> None:
        self.fill(_ribbon(line, width), colour, alpha)


def _stencil(outline: Points) -> Image.Image:
    stencil = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(stencil).polygon(outline.ravel().tolist(), fill=255)
    return stencil


def _enlarged(layer: Image.Image) -> Image.Image:
    """Return a soft layer at canvas size; downsampling inverts the nearest-neighbour doubling."""
    smooth = layer.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return smooth.resize((CANVAS, CANVAS), Image.Resampling.NEAREST)


def _scene(face: Face) -> Image.Image:
    """Draw from back to front at canvas size."""
    head = _Head(face)
    image = _backdrop(face.look)
    pen = _Pen(image)
    _draw_behind(pen, head, face)
    outline = _face_outline(head, face.person)
    stencil = _stencil(outline)
    image.paste(_skin(head, face), (0, 0), stencil)
    pen.stroke(outline, _tint(face.person.skin, 0.45), 3, 120)
    _draw_lines(pen, head, face)
    _draw_nose(pen, head, face)
    for side in (-1, 1):
        _draw_eye(pen, head, face, side)
        _draw_brow(pen, head, face, side)
    _draw_mouth(pen, head, face)
    _draw_beard(pen, head, face, stencil)
    if face.mask is not None:
        _draw_mask(pen, head, face)
    if face.person.glasses:
        _draw_glasses(pen, head)
    _draw_hair(pen, head, face)
    return image


def _backdrop(look: Look) -> Image.Image:
    rng = np.random.Generator(np.random.Philox(look.grain))
    y, x = np.mgrid[0:1:24j, 0:1:24j]
    slope = np.clip(x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) + 0.5, 0, 1)
    for _ in range(rng.integers(0, 6)):
        cx, cy, r = rng.uniform([-0.1, -0.1, 0.06], [1.1, 1.1, 0.3])
        slope += rng.uniform(-0.6, 0.6) * np.clip((r - np.hypot(x - cx, y - cy)) * 9, 0, 1)
    mix = np.clip(slope, -0.2, 1.2)[..., None]
    colours = np.array(look.backdrop[0]) * (1 - mix) + np.array(look.backdrop[1]) * mix
    small = Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8))
    image = _enlarged(small)
    pen = _Pen(image)
    for _ in range(rng.integers(0, 4)):  # door frames, shelves, poles
        left, wide, top, tall = rng.uniform([0, 10, -200, 150], [480, 140, 300, 700])
        box = np.array([[left, top], [left + wide, top], [left + wide, top + tall],
                        [left, top + tall]])  # fmt: skip
        pen.fill(box, _tint(look.backdrop[1], rng.uniform(0.3, 1.0)), rng.uniform(40, 160))
    return image


def _face_outline(head: _Head, person: Person) -> Points:
    jaw, chin = person.jaw, person.chin
    return head.flat(_mirror([
        (0.28, -1.27), (0.66, -1.06), (0.92, -0.6), (0.98, -0.1), (0.96, 0.3), (jaw, 0.72),
        (chin + 0.14, 1.05), (chin * 0.62, 1.22),
    ]))  # fmt: skip


def _draw_behind(pen: _Pen, head: _Head, face: Face) -> None:
    """Draw hair behind the head, neck, clothes and ears."""
    person, look = face.person, face.look
    skin, dark = person.skin, _tint(person.skin, 0.62)
    back = _HAIR_BACK.get(person.style)
    if back is not None:
        pen.fill(head.flat(_mirror(back), -0.25), _tint(person.hair, 0.72))
    if person.style == "bun":
        pen.fill(head.flat(_ellipse(0, -1.55, 0.42, 0.36), -0.3), person.hair)
    pen.fill(head.flat([(-0.52, 0.7), (0.52, 0.7), (0.56, 2.2), (-0.56, 2.2)], -0.3), dark)
    x, y = head.flat([(0, 1.46)], -0.3)[0]
    body = _mirror([(0.3, 0.02), (0.75, 0.0), (1.6, 0.28), (2.2, 0.9), (2.4, 2.6), (0.8, 3)])
    pen.fill(body * UNIT + [x, y], look.cloth)
    collar = np.array([(-0.62, 0), (0, 0.42), (0.62, 0)]) * UNIT + [x, y]
    pen.fill(collar, _tint(skin, 0.8))
    pen.stroke(collar, _tint(look.cloth, 0.6), 10, 160)
    for side in (-1, 1):
        ear = _closed([(0.94, -0.22), (1.1, -0.24), (1.14, 0.0), (1.05, 0.24), (0.92, 0.3)])
        ear = (ear - [0.06, 0]) * [side, 1]
        pen.fill(head.flat(ear, -0.1), _tint(skin, 0.86))
        pen.stroke(head.flat(ear[3:20] * [0.97, 0.9], -0.1), dark, 5, 150)


_GRID = np.mgrid[0:SOFT, 0:SOFT].astype(np.float32) * (CANVAS / SOFT)


def _skin(head: _Head, face: Face) -> Image.Image:
    """Return the soft colours of the whole face, to be cropped by its outline."""
    person, look = face.person, face.look
    layer = Image.new("RGB", (SOFT, SOFT), person.skin)
    pen = _Pen(layer, SOFT / CANVAS)
    for centre, radii, colour, alpha in _dabs(person, face.expression, look.light):
        pen.fill(head.on(_ellipse(*centre, *radii)), colour, alpha)
    layer = layer.filter(ImageFilter.BoxBlur(3))
    radius = head.scale * 1.3
    v, u = (_GRID - head.centre[::-1, None, None].astype(np.float32)) / np.float32(radius)
    z = np.sqrt(np.clip(1 - u * u * 1.5 - v * v * 0.75, 0, 1))
    shade = 0.66 + 0.37 * z + 0.2 * look.light * u - 0.1 * v
    warm = np.array([0.85, 1.0, 1.1], dtype=np.float32)  # shadows of skin are reddish
    lit = np.asarray(layer, dtype=np.float32) * (1 - (1 - shade[..., None]) * warm)
    return _enlarged(Image.fromarray(np.clip(lit, 0, 255, out=lit).astype(np.uint8)))


def _dabs(person: Person, move: Expression, light: float) -> list:
    """Return ((x, y), (rx, ry), colour, alpha) of each soft spot of the face."""
    dark, bright = _tint(person.skin, 0.5, (70, 25, 20)), _tint(person.skin, 0.55, (255, 245, 230))
    rosy = _tint(person.skin, 0.55, (225, 60, 60))
    lift = 0.12 * move.cheek
    dabs = [((0, 0.0), (0.11, 0.3), bright, 70), ((0, 0.3), (0.1, 0.1), bright, 80),
            ((0, -0.85), (0.5, 0.2), bright, 40), ((0, 1.12), (0.2, 0.1), bright, 50),
            ((0, 0.46), (0.2, 0.05), dark, 90), ((0, 0.95), (0.22, 0.045), dark, 80),
            ((-0.16 * np.sign(light), 0.12), (0.07, 0.3), dark, 60),
            ((0, -0.35), (0.16, 0.12), dark, 40 * abs(move.furrow))]  # fmt: skip
    for side in (-1, 1):
        dabs += [
            ((side * 0.42, EYE_Y - 0.14), (0.27, 0.13), dark, 70),
            ((side * 0.42, EYE_Y + 0.18), (0.22, 0.06), dark, 30 + 60 * person.age),
            ((side * 0.56, 0.36 - lift), (0.26, 0.2), rosy, 45 + 60 * move.cheek),
            ((side * 0.55, 0.24 - lift), (0.16, 0.09), bright, 40 + 60 * move.cheek),
            ((side * 0.62, 0.62), (0.1, 0.2), dark, 50 * move.cheek),
        ]
    return dabs


def _draw_lines(pen: _Pen, head: _Head, face: Face) -> None:
    """Draw wrinkles of age and of the expression."""
    move, age = face.expression, face.person.age
    ink = _tint(face.person.skin, 0.5, (60, 20, 15))
    frown = 60 * age + 190 * max(0.0, move.furrow)
    brow = 110 * age + 90 * max(0.0, move.inner, move.outer) - 40
    fold = 70 * age + 190 * max(0.0, move.cheek, move.square * 0.7) + 12
    sheet: list[tuple[list, float, float]] = [
        ([(-0.3, -0.72), (0, -0.7), (0.3, -0.72)], 4, brow),
        ([(-0.38, -0.86), (0, -0.84), (0.38, -0.86)], 4, brow - 20),
    ]
    for side in (-1, 1):
        hidden = side * head.turn[0, 2] > 0.2
        crow = 0.0 if hidden else 60 * age + 190 * max(0.0, move.cheek - 0.25)
        sheet += [
            ([(side * 0.07, -0.5), (side * 0.055, -0.4), (side * 0.08, -0.28)], 5, frown),
            ([(side * 0.72, -0.12), (side * 0.8, -0.17), (side * 0.86, -0.24)], 4, crow),
            ([(side * 0.73, -0.05), (side * 0.82, -0.05), (side * 0.89, -0.06)], 4, crow),
            ([(side * 0.71, 0.01), (side * 0.78, 0.05), (side * 0.84, 0.09)], 4, crow),
            ([(side * 0.24, 0.34), (side * 0.38, 0.45), (side * 0.45, 0.62),
              (side * 0.44, 0.74)], 6, fold),
        ]  # fmt: skip
    for points, width, alpha in sheet:
        if alpha > 8:
            pen.stroke(head.on(points), ink, width, min(alpha, 210))


def _draw_nose(pen: _Pen, head: _Head, face: Face) -> None:
    n, skin = face.person.nose, face.person.skin
    dark = _tint(skin, 0.5, (70, 25, 20))
    side = -1 if face.look.yaw < -6 or (face.look.yaw <= 6 and face.look.light > 0) else 1
    ridge = [(side * 0.12, -0.25), (side * 0.07, -0.05), (side * 0.09 * n, 0.2),
             (side * 0.13 * n, 0.32)]  # fmt: skip
    pen.stroke(head.on(ridge, np.array([0.05, 0.12, 0.22, 0.2])), dark, 6, 100)
    base = np.column_stack([_T * 0.2 * n, 0.38 + 0.05 * np.cos(3 * _T) - 0.05 * _T**2])
    pen.stroke(head.on(base, 0.2 * (1 - _T**2)), dark, 7, 190)
    for s in (-1, 1):
        hole = _ellipse(s * 0.085 * n, 0.4, 0.05 * n, 0.024)
        pen.fill(head.on(hole, 0.14), _tint(skin, 0.28), 200)
        wing = [(s * 0.17 * n, 0.24), (s * 0.225 * n, 0.3), (s * 0.215 * n, 0.38),
                (s * 0.15 * n, 0.41)]  # fmt: skip
        pen.stroke(head.on(wing, 0.06), dark, 6, 170)


def _lids(face: Face, side: int) -> tuple[Points, Points]:
    """Return the lines of the upper and lower lid of one eye, inner or left corner first."""
    person, move = face.person, face.expression
    half = 0.26 * person.eye
    inward = -side * _T  # 1 at the inner corner
    sad = max(0.0, move.inner) * (0.5 + max(0.0, -move.corner))
    angry = max(0.0, -move.inner)
    up = 0.15 * person.eye * (1 + 0.55 * move.lid) * (1 + 0.22 * inward * (sad - angry))
    down = 0.115 * person.eye * (1 - 1.25 * move.squint)
    arch = np.clip(1 - np.abs(_T) ** 2.4, 0, 1)
    tilt = (person.slant + 0.05 * (angry - sad)) * inward
    y = EYE_Y + tilt - 0.03 * move.cheek
    x = side * person.eye_gap + _T * half
    upper = np.column_stack([x, y - np.maximum(up, 0.015 - down) * arch])
    return upper, np.column_stack([x, y + down * arch])


def _draw_eye(pen: _Pen, head: _Head, face: Face, side: int) -> None:
    person, look = face.person, face.look
    upper, lower = (head.on(lid, 0.03) for lid in _lids(face, side))
    shape = np.concatenate([upper, lower[::-1]])
    low = np.floor(shape.min(axis=0)).astype(int) - 2
    size = np.ceil(shape.max(axis=0)).astype(int) - low + 3
    ball = Image.new("RGB", (int(size[0]), int(size[1])), (240, 236, 232))
    stencil = Image.new("L", ball.size)
    ImageDraw.Draw(stencil).polygon((shape - low).ravel().tolist(), fill=255)
    eye = _Pen(ball)
    centre = head.on([(side * person.eye_gap + 0.07 * look.gaze, EYE_Y - 0.02)], 0.03)[0] - low
    iris = 0.115 * person.eye * head.scale
    eye.fill(_CIRCLE * iris + centre, _tint(person.iris, 0.5))
    eye.fill(_CIRCLE * iris * 0.85 + centre, person.iris)
    eye.fill(_CIRCLE * iris * 0.45 + centre, (12, 10, 12))
    eye.stroke(upper - low + [0, 5], (60, 50, 60), 14, 70)
    eye.fill(_CIRCLE * iris * 0.22 + centre - iris * 0.35, (255, 255, 255), 230)
    pen.image.paste(ball, (int(low[0]), int(low[1])), stencil)
    ink = _tint(person.skin, 0.22, (25, 12, 10))
    pen.stroke(lower, ink, 3, 130)
    pen.fill(_ribbon(upper, 8, 0.4), ink, 240)
    pen.stroke(upper[2:15] - [0, 12 + 4 * face.expression.lid], ink, 4, 90)
    bag = _lowered(lower, 8 + 6 * face.expression.squint)
    pen.stroke(bag[3:14], ink, 4, 40 + 110 * max(0.0, face.expression.squint))


def _draw_brow(pen: _Pen, head: _Head, face: Face, side: int) -> None:
    person, move = face.person, face.expression
    t = np.linspace(0, 1, 12)  # from the nose outwards
    x = side * (0.17 - 0.05 * move.furrow + t * 0.5)
    y = BROW_Y - person.brow_height - 0.07 * np.sin(np.pi * t * 0.8) + 0.05 * t
    y -= person.brow_tilt * (1 - 2 * t)
    y -= 0.19 * move.inner * (1 - t) ** 1.3 + 0.1 * move.outer * t - 0.04 * move.furrow * (1 - t)
    line = head.on(np.column_stack([x, y]), 0.05)
    hair = _tint(person.hair, 0.6, (40, 28, 24))
    pen.fill(_ribbon(line, 21 * person.brow, 0.45), hair, 235)


def _mouth_lines(face: Face) -> list[Points]:
    """Return the outer upper, inner upper, inner lower and outer lower line of the lips."""
    person, move = face.person, face.expression
    corner = move.corner + person.resting_corner
    arch = np.clip(1 - np.abs(_T) ** (2 + 4 * move.square), 0, 1)
    thin = person.lip_full * (1 - 0.25 * abs(move.corner) - 0.3 * move.furrow)
    middle = MOUTH_Y - 0.19 * corner * (_T**2 - 0.45) - 0.03 * move.cheek
    bow = 1 - 0.22 * np.exp(-((_T / 0.16) ** 2))
    tops = middle - 0.07 * move.gap * arch * (1 + move.square)
    lows = middle + 0.32 * move.gap * arch
    heights = [tops - 0.085 * thin * arch**0.7 * bow, tops, lows, lows + 0.1 * thin * arch]
    x = _T * 0.41 * person.mouth * (1 + 0.3 * move.wide)
    return [np.column_stack([x, y]) for y in heights]


def _draw_mouth(pen: _Pen, head: _Head, face: Face) -> None:
    top, upper, lower, bottom = (head.on(line, 0.08) for line in _mouth_lines(face))
    move, lip = face.expression, face.person.lip
    if move.gap > 0.04:
        pen.fill(np.concatenate([upper, lower[::-1]]), (70, 18, 22))
        bite = np.minimum(lower, _lowered(upper, 0.11 * head.scale))
        bite = upper + (bite - upper) * [1, 0.95]
        pen.fill(np.concatenate([upper[1:-1], bite[1:-1][::-1]]), (246, 243, 236))
        if move.square > 0.4:
            rim = np.maximum(upper, lower - [0, 0.07 * head.scale])
            pen.fill(np.concatenate([rim[2:-2], lower[2:-2][::-1]]), (238, 234, 226))
    pen.fill(np.concatenate([top, upper[::-1]]), _tint(lip, 0.88))
    pen.fill(np.concatenate([lower, bottom[::-1]]), lip)
    shine = (lower[5:12] + bottom[5:12]) / 2
    pen.stroke(shine, _tint(lip, 0.5, (255, 240, 235)), 5, 110)
    pen.fill(_ribbon(upper, 8, 0.3), _tint(lip, 0.35), 235)
    for end, side in ((upper[0], -1), (upper[-1], 1)):
        pen.fill(_CIRCLE * 4 + end + [side * 2, 0], _tint(face.person.skin, 0.5), 130)


def _draw_beard(pen: _Pen, head: _Head, face: Face, stencil: Image.Image) -> None:
    """Draw stubble or a beard around the mouth, clipped to the face's `stencil`."""
    beard = face.person.beard
    if beard < 0.05:
        return
    top, _, _, bottom = _mouth_lines(face)
    colour, alpha = _tint(face.person.hair, 0.8, (40, 30, 26)), 40 + 170 * beard
    cheek = [(0.99, 0.0), (0.9, 0.36), (0.7, 0.6), (0.46, 0.62)]
    under = _lowered(bottom[2:-2:4], 0.05)[::-1].tolist()
    inner = [*cheek, *under, *((-x, y) for x, y in reversed(cheek))]
    outer = [(-1.1, 0.9), (-0.8, 1.5), (0.8, 1.5), (1.1, 0.9)]
    patch = Image.new("L", (CANVAS, CANVAS))
    area = np.concatenate([head.on(inner), head.flat(outer)])
    tache = np.concatenate([top - [0, 0.015], (top * [1.05, 1] - [0, 0.12])[::-1]])
    ink = ImageDraw.Draw(patch)
    ink.polygon(area.ravel().tolist(), fill=int(alpha * 0.8))
    ink.polygon(head.on(tache, 0.08).ravel().tolist(), fill=int(alpha))
    patch = ImageChops.darker(patch.reduce(4), stencil.reduce(4))
    pen.image.paste(colour, (0, 0), _enlarged(patch.filter(ImageFilter.BoxBlur(1))))


def _draw_glasses(pen: _Pen, head: _Head) -> None:
    for side in (-1, 1):
        rim = np.concatenate([_ellipse(side * 0.43, EYE_Y + 0.03, 0.31, 0.25)] * 2)[:18]
        pen.fill(_ribbon(head.on(rim, 0.14), 9, 0), (32, 28, 30), 235)
        arm = np.concatenate([head.on([(side * 0.74, EYE_Y)], 0.14),
                              head.flat([(side * 1.0, EYE_Y - 0.02)], -0.1)])  # fmt: skip
        pen.fill(_ribbon(arm, 8, 0), (32, 28, 30), 235)
        shine = head.on([(side * 0.43 - 0.15, -0.02), (side * 0.43 - 0.02, -0.2)], 0.14)
        pen.fill(_ribbon(shine, 10, 0), (255, 255, 255), 60)
    bridge = head.on([(-0.13, EYE_Y - 0.02), (0, EYE_Y - 0.06), (0.13, EYE_Y - 0.02)], 0.2)
    pen.fill(_ribbon(bridge, 8, 0), (32, 28, 30), 235)


# Right half of the hair behind the head, and right-to-left hairline in front, by style.
_HAIR_BACK: dict[str, list] = {
    "bob": [(0.4, -1.5), (1.0, -1.1), (1.24, -0.3), (1.26, 0.5), (1.1, 1.0), (0.5, 1.1)],
    "long": [(0.4, -1.5), (1.0, -1.1), (1.25, -0.3), (1.28, 0.8), (1.36, 1.9), (0.7, 2.2)],
    "fringe": [(0.4, -1.5), (1.0, -1.1), (1.25, -0.3), (1.26, 0.8), (1.2, 1.5), (0.6, 1.6)],
    "curly": [(0.5, -1.72), (1.15, -1.3), (1.5, -0.5), (1.4, 0.3), (1.1, 0.7), (0.5, 0.6)],
    "afro": [(0.6, -1.85), (1.3, -1.4), (1.62, -0.6), (1.45, 0.1), (1.0, 0.4), (0.4, 0.3)],
}
_HAIRLINE: dict[str, list] = {
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
_HAIRLINE |= {"long": _HAIRLINE["bob"], "bun": _HAIRLINE["short"], "curly": _HAIRLINE["short"],
              "afro": _HAIRLINE["short"], "buzz": _HAIRLINE["short"]}  # fmt: skip
STYLES = (*_HAIRLINE, "bald")


def _draw_hair(pen: _Pen, head: _Head, face: Face) -> None:
    """Draw the hair in front: the cap between the skull's rim and the hairline, with strands."""
    style, hair = face.person.style, face.person.hair
    if style == "bald":
        return
    rng = np.random.Generator(np.random.Philox(face.look.grain + 1))
    volume = {"buzz": 0.03, "receding": 0.05, "short": 0.13}.get(style, 0.18)
    line = np.array(_HAIRLINE[style])
    angle = np.linspace(-0.5, 0.5, 15) * np.pi * 1.08
    swell = volume * np.array([[0.55, 1.0]]) * (0.35 + 0.65 * np.cos(angle))[:, None]
    rim = np.column_stack([np.sin(angle), -0.32 - 0.97 * np.cos(angle)]) * (1 + swell)
    rim[[0, -1], 1] = line[[-1, 0], 1]
    far = np.linspace(0, 1, 25)
    knots = np.linspace(0, 1, len(line))
    front = np.column_stack([np.interp(far, knots, line[:, k]) for k in (0, 1)])
    alpha = 190 if style == "buzz" else 255
    back = np.clip((np.abs(front[:, 0]) - 0.8) / 0.18, 0, 1)  # sideburns run back to the ears
    inner, outer = head.on(front, 0.02 - 0.5 * back), head.flat(rim, -0.1)
    pen.fill(np.concatenate([outer, inner]), _tint(hair, 0.95), alpha)
    if style in ("curly", "afro"):
        for x, y in head.flat(rim[3:-3] * rng.uniform(0.9, 1.12, (9, 1)), -0.1):
            pen.fill(_CIRCLE * rng.uniform(22, 38) + [x, y], _tint(hair, rng.uniform(0.8, 1.1)))
        return
    for _ in range(0 if style == "buzz" else 9):
        a, b = rng.uniform(0.04, 0.96, 2) * [1, 0.35] + [0, 0.25]
        start = outer[int((1 - a) * 14)]
        end = inner[int((0.75 * a + 0.25 * b) * 24)]
        start = start * 0.85 + end * 0.15
        bend = (start + end) / 2 + rng.uniform(-0.12, 0.12, 2) * np.abs(end - start)[::-1]
        tone = _tint(hair, 0.75) if rng.random() < 0.6 else _tint(hair, 0.75, (255, 235, 200))
        pen.stroke(np.stack([start, bend, end]), tone, 6, 70)


def _sheet(head: _Head, mask: Mask, u: Points, v: Points) -> Points:
    """Map u in [-1, 1] across and v in [0, 1] down the mask to canvas pixels."""
    cone = mask.kind == "cone"
    low = 1.3 if mask.kind != "bandana" else 1.5
    side_top = max(0.16, mask.top) if mask.kind != "cone" else 0.3
    side_low = {"cone": 0.78, "bandana": 0.95}.get(mask.kind, 0.82)
    bend = np.abs(u) ** 1.7
    top = mask.top * (1 - bend) + side_top * bend + (0.05 * (1 - np.cos(6.3 * u)) if cone else 0)
    bottom = low * (1 - bend) + side_low * bend
    y = top + (bottom - top) * v
    x = u * (0.9 - 0.26 * v**1.6)
    belly = (1 - u**2) * np.sin(np.pi * np.clip(v, 0.02, 0.98))
    nose = 0.14 * np.exp(-((u / 0.22) ** 2)) * (1 - v)
    return head.on(np.column_stack([x, y]), 0.03 + nose + (0.3 if cone else 0.14) * belly)


def _sheet_edge(head: _Head, mask: Mask) -> Points:
    ones = np.ones(17)
    u = np.concatenate([_T, ones, -_T, -ones])
    down = (_T + 1) / 2
    v = np.concatenate([0 * ones, down, ones, 1 - down])
    return _sheet(head, mask, u, v)


def _straps(head: _Head, mask: Mask) -> list[Points]:
    straps = []
    for side in (-1.0, 1.0):
        if side * head.turn[0, 2] > 0.15:
            continue  # the far ear is hidden
        for v, y in ((0.06, -0.12), (0.85, 0.22)):
            start = _sheet(head, mask, np.array([side * 0.97]), np.array([v]))
            goal = [(side * 1.02, y - 0.6 * mask.behind_head)]
            straps.append(_ribbon(np.concatenate([start, head.flat(goal, -0.1)]), 8, 0))
    return straps


def _draw_mask(pen: _Pen, head: _Head, face: Face) -> None:
    """Draw a worn mask into the scene: straps, sheet, pattern, folds, light and shadow."""
    mask, look = face.mask, face.look
    assert mask is not None
    edge = _sheet_edge(head, mask)
    if mask.kind != "bandana":
        for strap in _straps(head, mask):
            pen.fill(strap, mask.strap)
    pen.stroke(edge[:18] - [0, 3], (20, 10, 10), 12, 70)  # shadow on the cheeks
    layer = Image.new("RGB", (CANVAS, CANVAS), mask.colour)
    _draw_pattern(_Pen(layer), head, mask)
    shadow = Image.new("L", (SOFT, SOFT), 0)
    dark = ImageDraw.Draw(shadow)
    rng = np.random.Generator(np.random.Philox(look.grain + 2))
    for _ in range(int(9 * mask.folds)):
        u0, v0, du, dv = rng.uniform([-0.9, 0.1, -0.5, -0.3], [0.9, 0.9, 0.5, 0.3])
        s = np.linspace(0, 1, 6)
        fold = _sheet(head, mask, np.clip(u0 + du * s, -1, 1), np.clip(v0 + dv * s, 0, 1))
        dark.line((fold / 4).ravel().tolist(), fill=int(rng.uniform(60, 130)), width=3)
    for u, v, r, depth in ((-look.light * 0.9, 0.5, 0.45, 90), (0.0, 1.0, 0.5, 80)):
        x, y = _sheet(head, mask, np.array([u]), np.array([v]))[0] / 4
        dark.ellipse([x - r * 32, y - r * 40, x + r * 32, y + r * 40], fill=depth)
    soft = _enlarged(shadow.filter(ImageFilter.GaussianBlur(3)))
    layer.paste(_tint(mask.colour, 0.3), (0, 0), soft)
    pen.image.paste(layer, (0, 0), _stencil(edge))
    pen.fill(_ribbon(edge, 4, 0), _tint(mask.colour, 0.5), 140)


def _draw_pattern(pen: _Pen, head: _Head, mask: Mask) -> None:
    def line(u: Points, v: Points, colour: RGB, width: float, alpha: float) -> None:
        pen.fill(_ribbon(_sheet(head, mask, u, v), width, 0), colour, alpha)

    across, down, one = _T * 1.05, (_T + 1) / 2, np.ones(17)
    if mask.pattern in ("stripes", "checks"):
        for v in np.linspace(0.08, 0.95, 6):
            line(across, v * one, mask.second, 13, 210 if mask.pattern == "stripes" else 130)
    if mask.pattern == "checks":
        for u in np.linspace(-0.9, 0.9, 7):
            line(u * one, down, mask.second, 13, 130)
    if mask.pattern == "dots":
        u, v = np.meshgrid(np.linspace(-0.9, 0.9, 8), np.linspace(0.08, 0.92, 6))
        for spot in _sheet(head, mask, (u + 0.12 * (np.arange(6)[:, None] % 2)).ravel(), v.ravel()):
            pen.fill(_CIRCLE * 7 + spot, mask.second)
    if mask.kind == "surgical":
        for v in (0.28, 0.48, 0.68):
            line(across, v * one, _tint(mask.colour, 0.55), 5, 150)
            line(across, (v - 0.025) * one, (255, 255, 255), 4, 90)
        line(across * 0.5, 0.04 * one, (255, 255, 255), 8, 120)
    if mask.kind == "cone":
        line(0 * one, down, _tint(mask.colour, 0.5), 7, 170)
        line(across * 0.35, 0.05 * one, (120, 122, 126), 9, 220)
        if mask.pattern == "valve":
            spot = _sheet(head, mask, np.array([0.42]), np.array([0.55]))[0]
            pen.fill(_CIRCLE * 24 + spot, _tint(mask.colour, 0.75))
            pen.fill(_CIRCLE * 17 + spot, _tint(mask.second, 0.9))
    if mask.kind == "cloth":
        line(0 * one, down, _tint(mask.colour, 0.55), 4, 110)


_MID_GREY = 118  # fixed point of contrast changes


def _finish(scene: Image.Image, look: Look) -> Image.Image:
    """Downsample the scene and apply the effects of a camera and of LFW's funnelling."""
    small = scene.reduce(2)
    if look.blur > 0:
        small = small.filter(ImageFilter.GaussianBlur(look.blur))
    photo = np.asarray(small, dtype=np.float32)
    slope = 1 + 0.3 * look.light * np.linspace(-1, 1, SIZE, dtype=np.float32)
    gain = (look.gain * slope[None, :, None]) * np.array(look.cast, dtype=np.float32)
    photo = photo * (gain * np.float32(look.contrast))
    photo += np.float32(_MID_GREY * (1 - look.contrast))
    if look.noise > 0:
        rng = np.random.Generator(np.random.Philox(look.grain + 3))
        photo += look.noise * rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32)
    image = Image.fromarray(np.clip(photo, 0, 255, out=photo).astype(np.uint8))
    pen, half = ImageDraw.Draw(image), SIZE / 2
    c, s = np.cos(np.radians(look.frame)), np.sin(np.radians(look.frame))
    for k in range(4):  # everything outside each side of the turned frame is black
        quarter = np.linalg.matrix_power(np.array([[0, -1], [1, 0]]), k)
        strip = np.array([(-2, -1), (2, -1), (2, -3), (-2, -3)]) * half @ quarter.T
        turned = strip @ np.array([[c, s], [-s, c]]) + half
        pen.polygon(turned.ravel().tolist(), fill=(0, 0, 0))
    return image
