"""Hair and beards of drawn faces."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from fer.data.synthetic.face_features import _mouth_lines
from fer.data.synthetic.parameters import (
    CANVAS,
    CIRCLE,
    HAIRLINE,
    Face,
)
from fer.data.synthetic.pen import (
    Head,
    Pen,
    enlarged,
    lowered,
    tint,
)


def draw_beard(pen: Pen, head: Head, face: Face, stencil: Image.Image) -> None:
    """Draw stubble or a beard around the mouth, clipped to the face's `stencil`."""
    beard = face.person.beard
    if beard < 0.05:
        return
    top, _, _, bottom = _mouth_lines(face)
    colour, alpha = tint(face.person.hair, 0.8, (40, 30, 26)), 40 + 170 * beard
    cheek = [(0.99, 0.0), (0.9, 0.36), (0.7, 0.6), (0.46, 0.62)]
    under = lowered(bottom[2:-2:4], 0.05)[::-1].tolist()
    inner = [*cheek, *under, *((-x, y) for x, y in reversed(cheek))]
    outer = [(-1.1, 0.9), (-0.8, 1.5), (0.8, 1.5), (1.1, 0.9)]
    patch = Image.new("L", (CANVAS, CANVAS))
    area = np.concatenate([head.on(inner), head.flat(outer)])
    tache = np.concatenate([top - [0, 0.015], (top * [1.05, 1] - [0, 0.12])[::-1]])
    ink = ImageDraw.Draw(patch)
    ink.polygon(area.ravel().tolist(), fill=int(alpha * 0.8))
    ink.polygon(head.on(tache, 0.08).ravel().tolist(), fill=int(alpha))
    patch = ImageChops.darker(patch.reduce(4), stencil.reduce(4))
    pen.image.paste(colour, (0, 0), enlarged(patch.filter(ImageFilter.BoxBlur(1))))


def draw_hair(pen: Pen, head: Head, face: Face) -> None:
    """Draw the hair in front: the cap between the skull's rim and the hairline, with strands."""
    style, hair = face.person.style, face.person.hair
    if style == "bald":
        return
    rng = np.random.Generator(np.random.Philox(face.look.grain + 1))
    volume = {"buzz": 0.03, "receding": 0.05, "short": 0.13}.get(style, 0.18)
    line = np.array(HAIRLINE[style])
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
    pen.fill(np.concatenate([outer, inner]), tint(hair, 0.95), alpha)
    if style in ("curly", "afro"):
        for x, y in head.flat(rim[3:-3] * rng.uniform(0.9, 1.12, (9, 1)), -0.1):
            pen.fill(CIRCLE * rng.uniform(22, 38) + [x, y], tint(hair, rng.uniform(0.8, 1.1)))
        return
    for _ in range(0 if style == "buzz" else 9):
        a, b = rng.uniform(0.04, 0.96, 2) * [1, 0.35] + [0, 0.25]
        start = outer[int((1 - a) * 14)]
        end = inner[int((0.75 * a + 0.25 * b) * 24)]
        start = start * 0.85 + end * 0.15
        bend = (start + end) / 2 + rng.uniform(-0.12, 0.12, 2) * np.abs(end - start)[::-1]
        tone = tint(hair, 0.75) if rng.random() < 0.6 else tint(hair, 0.75, (255, 235, 200))
        pen.stroke(np.stack([start, bend, end]), tone, 6, 70)
