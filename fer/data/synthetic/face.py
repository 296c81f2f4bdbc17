"""Draw a face from its parameters.

For the project's default data, which are drawings and no evidence about people. Everything here is
a pure function of its arguments; random texture (background, hair strands, sensor noise) is seeded
by `Look.grain`.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer.data.synthetic.face_features import (
    draw_behind,
    draw_brow,
    draw_eye,
    draw_glasses,
    draw_lines,
    draw_mouth,
    draw_nose,
    face_outline,
    skin,
)
from fer.data.synthetic.hair import draw_beard, draw_hair
from fer.data.synthetic.parameters import CANVAS, EYE_Y, MOUTH_Y, SIZE, Face, Look, Mask, Points
from fer.data.synthetic.pen import Head, Pen, enlarged, outline_stencil, tint
from fer.data.synthetic.worn_mask import draw_mask, sheet_edge, straps

WHITE_MASK = (244, 246, 247)


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
    head = Head(face)
    pen = ImageDraw.Draw(cover)
    flat = Mask("flat", WHITE_MASK, WHITE_MASK)
    for strap in straps(head, flat):
        pen.polygon(strap.ravel().tolist(), fill=170)
    pen.polygon(sheet_edge(head, flat).ravel().tolist(), fill=255)
    masked = plain.copy()
    masked.paste(WHITE_MASK, (0, 0), cover.reduce(2))
    return plain, masked


def landmarks(face: Face) -> Points:
    """Return the landmarks (eyes, nose, mouth), (5, 2) picture pixels, from the viewer's left."""
    head, person = Head(face), face.person
    corner, gap = 0.41 * person.mouth, person.eye_gap
    flat = head.on([(-gap, EYE_Y), (gap, EYE_Y), (-corner, MOUTH_Y), (corner, MOUTH_Y)], 0.05)
    tip = head.on([(0.0, 0.33)], 0.2)
    return np.concatenate([flat[:2], tip, flat[2:]]) * SIZE / CANVAS


def _scene(face: Face) -> Image.Image:
    """Draw from back to front at canvas size."""
    head = Head(face)
    image = _backdrop(face.look)
    pen = Pen(image)
    draw_behind(pen, head, face)
    outline = face_outline(head, face.person)
    stencil = outline_stencil(outline)
    image.paste(skin(head, face), (0, 0), stencil)
    pen.stroke(outline, tint(face.person.skin, 0.45), 3, 120)
    draw_lines(pen, head, face)
    draw_nose(pen, head, face)
    for side in (-1, 1):
        draw_eye(pen, head, face, side)
        draw_brow(pen, head, face, side)
    draw_mouth(pen, head, face)
    draw_beard(pen, head, face, stencil)
    if face.mask is not None:
        draw_mask(pen, head, face)
    if face.person.glasses:
        draw_glasses(pen, head)
    draw_hair(pen, head, face)
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
    image = enlarged(small)
    pen = Pen(image)
    for _ in range(rng.integers(0, 4)):  # door frames, shelves, poles
        left, wide, top, tall = rng.uniform([0, 10, -200, 150], [480, 140, 300, 700])
        box = np.array([[left, top], [left + wide, top], [left + wide, top + tall],
                        [left, top + tall]])  # fmt: skip
        pen.fill(box, tint(look.backdrop[1], rng.uniform(0.3, 1.0)), rng.uniform(40, 160))
    return image


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
