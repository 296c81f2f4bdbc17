"""The features of a drawn face: skin, eyes, brows, nose, mouth, beard, glasses, hair."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer.data.synthetic.parameters import (
    BROW_Y,
    CANVAS,
    CIRCLE,
    EYE_Y,
    MOUTH_Y,
    SOFT,
    UNIT,
    Expression,
    Face,
    Person,
    Points,
    T,
)
from fer.data.synthetic.pen import (
    Head,
    Pen,
    closed,
    ellipse,
    enlarged,
    lowered,
    mirror,
    ribbon,
    tint,
)


def face_outline(head: Head, person: Person) -> Points:
    """Return the outline of a face on the canvas."""
    jaw, chin = person.jaw, person.chin
    return head.flat(mirror([
        (0.28, -1.27), (0.66, -1.06), (0.92, -0.6), (0.98, -0.1), (0.96, 0.3), (jaw, 0.72),
        (chin + 0.14, 1.05), (chin * 0.62, 1.22),
    ]))  # fmt: skip


def draw_behind(pen: Pen, head: Head, face: Face) -> None:
    """Draw hair behind the head, neck, clothes and ears."""
    person, look = face.person, face.look
    skin, dark = person.skin, tint(person.skin, 0.62)
    back = _HAIR_BACK.get(person.style)
    if back is not None:
        pen.fill(head.flat(mirror(back), -0.25), tint(person.hair, 0.72))
    if person.style == "bun":
        pen.fill(head.flat(ellipse(0, -1.55, 0.42, 0.36), -0.3), person.hair)
    pen.fill(head.flat([(-0.52, 0.7), (0.52, 0.7), (0.56, 2.2), (-0.56, 2.2)], -0.3), dark)
    x, y = head.flat([(0, 1.46)], -0.3)[0]
    body = mirror([(0.3, 0.02), (0.75, 0.0), (1.6, 0.28), (2.2, 0.9), (2.4, 2.6), (0.8, 3)])
    pen.fill(body * UNIT + [x, y], look.cloth)
    collar = np.array([(-0.62, 0), (0, 0.42), (0.62, 0)]) * UNIT + [x, y]
    pen.fill(collar, tint(skin, 0.8))
    pen.stroke(collar, tint(look.cloth, 0.6), 10, 160)
    for side in (-1, 1):
        ear = closed([(0.94, -0.22), (1.1, -0.24), (1.14, 0.0), (1.05, 0.24), (0.92, 0.3)])
        ear = (ear - [0.06, 0]) * [side, 1]
        pen.fill(head.flat(ear, -0.1), tint(skin, 0.86))
        pen.stroke(head.flat(ear[3:20] * [0.97, 0.9], -0.1), dark, 5, 150)


_GRID = np.mgrid[0:SOFT, 0:SOFT].astype(np.float32) * (CANVAS / SOFT)


def skin(head: Head, face: Face) -> Image.Image:
    """Return the soft colours of the whole face, to be cropped by its outline."""
    person, look = face.person, face.look
    layer = Image.new("RGB", (SOFT, SOFT), person.skin)
    pen = Pen(layer, SOFT / CANVAS)
    for centre, radii, colour, alpha in _dabs(person, face.expression, look.light):
        pen.fill(head.on(ellipse(*centre, *radii)), colour, alpha)
    layer = layer.filter(ImageFilter.BoxBlur(3))
    radius = head.scale * 1.3
    v, u = (_GRID - head.centre[::-1, None, None].astype(np.float32)) / np.float32(radius)
    z = np.sqrt(np.clip(1 - u * u * 1.5 - v * v * 0.75, 0, 1))
    shade = 0.66 + 0.37 * z + 0.2 * look.light * u - 0.1 * v
    warm = np.array([0.85, 1.0, 1.1], dtype=np.float32)  # shadows of skin are reddish
    lit = np.asarray(layer, dtype=np.float32) * (1 - (1 - shade[..., None]) * warm)
    return enlarged(Image.fromarray(np.clip(lit, 0, 255, out=lit).astype(np.uint8)))


def _dabs(person: Person, move: Expression, light: float) -> list:
    """Return ((x, y), (rx, ry), colour, alpha) of each soft spot of the face."""
    dark, bright = tint(person.skin, 0.5, (70, 25, 20)), tint(person.skin, 0.55, (255, 245, 230))
    rosy = tint(person.skin, 0.55, (225, 60, 60))
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


def draw_lines(pen: Pen, head: Head, face: Face) -> None:
    """Draw wrinkles of age and of the expression."""
    move, age = face.expression, face.person.age
    ink = tint(face.person.skin, 0.5, (60, 20, 15))
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


def draw_nose(pen: Pen, head: Head, face: Face) -> None:
    """Draw the nose."""
    n, skin = face.person.nose, face.person.skin
    dark = tint(skin, 0.5, (70, 25, 20))
    side = -1 if face.look.yaw < -6 or (face.look.yaw <= 6 and face.look.light > 0) else 1
    ridge = [(side * 0.12, -0.25), (side * 0.07, -0.05), (side * 0.09 * n, 0.2),
             (side * 0.13 * n, 0.32)]  # fmt: skip
    pen.stroke(head.on(ridge, np.array([0.05, 0.12, 0.22, 0.2])), dark, 6, 100)
    base = np.column_stack([T * 0.2 * n, 0.38 + 0.05 * np.cos(3 * T) - 0.05 * T**2])
    pen.stroke(head.on(base, 0.2 * (1 - T**2)), dark, 7, 190)
    for s in (-1, 1):
        hole = ellipse(s * 0.085 * n, 0.4, 0.05 * n, 0.024)
        pen.fill(head.on(hole, 0.14), tint(skin, 0.28), 200)
        wing = [(s * 0.17 * n, 0.24), (s * 0.225 * n, 0.3), (s * 0.215 * n, 0.38),
                (s * 0.15 * n, 0.41)]  # fmt: skip
        pen.stroke(head.on(wing, 0.06), dark, 6, 170)


def _lids(face: Face, side: int) -> tuple[Points, Points]:
    """Return the lines of the upper and lower lid of one eye, inner or left corner first."""
    person, move = face.person, face.expression
    half = 0.26 * person.eye
    inward = -side * T  # 1 at the inner corner
    sad = max(0.0, move.inner) * (0.5 + max(0.0, -move.corner))
    angry = max(0.0, -move.inner)
    up = 0.15 * person.eye * (1 + 0.55 * move.lid) * (1 + 0.22 * inward * (sad - angry))
    down = 0.115 * person.eye * (1 - 1.25 * move.squint)
    arch = np.clip(1 - np.abs(T) ** 2.4, 0, 1)
    tilt = (person.slant + 0.05 * (angry - sad)) * inward
    y = EYE_Y + tilt - 0.03 * move.cheek
    x = side * person.eye_gap + T * half
    upper = np.column_stack([x, y - np.maximum(up, 0.015 - down) * arch])
    return upper, np.column_stack([x, y + down * arch])


def draw_eye(pen: Pen, head: Head, face: Face, side: int) -> None:
    """Draw an eye; `side` is -1 for the left one, 1 for the right one."""
    person, look = face.person, face.look
    upper, lower = (head.on(lid, 0.03) for lid in _lids(face, side))
    shape = np.concatenate([upper, lower[::-1]])
    low = np.floor(shape.min(axis=0)).astype(int) - 2
    size = np.ceil(shape.max(axis=0)).astype(int) - low + 3
    ball = Image.new("RGB", (int(size[0]), int(size[1])), (240, 236, 232))
    stencil = Image.new("L", ball.size)
    ImageDraw.Draw(stencil).polygon((shape - low).ravel().tolist(), fill=255)
    eye = Pen(ball)
    centre = head.on([(side * person.eye_gap + 0.07 * look.gaze, EYE_Y - 0.02)], 0.03)[0] - low
    iris = 0.115 * person.eye * head.scale
    eye.fill(CIRCLE * iris + centre, tint(person.iris, 0.5))
    eye.fill(CIRCLE * iris * 0.85 + centre, person.iris)
    eye.fill(CIRCLE * iris * 0.45 + centre, (12, 10, 12))
    eye.stroke(upper - low + [0, 5], (60, 50, 60), 14, 70)
    eye.fill(CIRCLE * iris * 0.22 + centre - iris * 0.35, (255, 255, 255), 230)
    pen.image.paste(ball, (int(low[0]), int(low[1])), stencil)
    ink = tint(person.skin, 0.22, (25, 12, 10))
    pen.stroke(lower, ink, 3, 130)
    pen.fill(ribbon(upper, 8, 0.4), ink, 240)
    pen.stroke(upper[2:15] - [0, 12 + 4 * face.expression.lid], ink, 4, 90)
    bag = lowered(lower, 8 + 6 * face.expression.squint)
    pen.stroke(bag[3:14], ink, 4, 40 + 110 * max(0.0, face.expression.squint))


def draw_brow(pen: Pen, head: Head, face: Face, side: int) -> None:
    """Draw an eyebrow."""
    person, move = face.person, face.expression
    t = np.linspace(0, 1, 12)  # from the nose outwards
    x = side * (0.17 - 0.05 * move.furrow + t * 0.5)
    y = BROW_Y - person.brow_height - 0.07 * np.sin(np.pi * t * 0.8) + 0.05 * t
    y -= person.brow_tilt * (1 - 2 * t)
    y -= 0.19 * move.inner * (1 - t) ** 1.3 + 0.1 * move.outer * t - 0.04 * move.furrow * (1 - t)
    line = head.on(np.column_stack([x, y]), 0.05)
    hair = tint(person.hair, 0.6, (40, 28, 24))
    pen.fill(ribbon(line, 21 * person.brow, 0.45), hair, 235)


def _mouth_lines(face: Face) -> list[Points]:
    """Return the outer upper, inner upper, inner lower and outer lower line of the lips."""
    person, move = face.person, face.expression
    corner = move.corner + person.resting_corner
    arch = np.clip(1 - np.abs(T) ** (2 + 4 * move.square), 0, 1)
    thin = person.lip_full * (1 - 0.25 * abs(move.corner) - 0.3 * move.furrow)
    middle = MOUTH_Y - 0.19 * corner * (T**2 - 0.45) - 0.03 * move.cheek
    bow = 1 - 0.22 * np.exp(-((T / 0.16) ** 2))
    tops = middle - 0.07 * move.gap * arch * (1 + move.square)
    lows = middle + 0.32 * move.gap * arch
    heights = [tops - 0.085 * thin * arch**0.7 * bow, tops, lows, lows + 0.1 * thin * arch]
    x = T * 0.41 * person.mouth * (1 + 0.3 * move.wide)
    return [np.column_stack([x, y]) for y in heights]


def draw_mouth(pen: Pen, head: Head, face: Face) -> None:
    """Draw the mouth."""
    top, upper, lower, bottom = (head.on(line, 0.08) for line in _mouth_lines(face))
    move, lip = face.expression, face.person.lip
    if move.gap > 0.04:
        pen.fill(np.concatenate([upper, lower[::-1]]), (70, 18, 22))
        bite = np.minimum(lower, lowered(upper, 0.11 * head.scale))
        bite = upper + (bite - upper) * [1, 0.95]
        pen.fill(np.concatenate([upper[1:-1], bite[1:-1][::-1]]), (246, 243, 236))
        if move.square > 0.4:
            rim = np.maximum(upper, lower - [0, 0.07 * head.scale])
            pen.fill(np.concatenate([rim[2:-2], lower[2:-2][::-1]]), (238, 234, 226))
    pen.fill(np.concatenate([top, upper[::-1]]), tint(lip, 0.88))
    pen.fill(np.concatenate([lower, bottom[::-1]]), lip)
    shine = (lower[5:12] + bottom[5:12]) / 2
    pen.stroke(shine, tint(lip, 0.5, (255, 240, 235)), 5, 110)
    pen.fill(ribbon(upper, 8, 0.3), tint(lip, 0.35), 235)
    for end, side in ((upper[0], -1), (upper[-1], 1)):
        pen.fill(CIRCLE * 4 + end + [side * 2, 0], tint(face.person.skin, 0.5), 130)


def draw_glasses(pen: Pen, head: Head) -> None:
    """Draw both rims with their shine and arms, and the bridge."""
    for side in (-1, 1):
        rim = np.concatenate([ellipse(side * 0.43, EYE_Y + 0.03, 0.31, 0.25)] * 2)[:18]
        pen.fill(ribbon(head.on(rim, 0.14), 9, 0), (32, 28, 30), 235)
        arm = np.concatenate([head.on([(side * 0.74, EYE_Y)], 0.14),
                              head.flat([(side * 1.0, EYE_Y - 0.02)], -0.1)])  # fmt: skip
        pen.fill(ribbon(arm, 8, 0), (32, 28, 30), 235)
        shine = head.on([(side * 0.43 - 0.15, -0.02), (side * 0.43 - 0.02, -0.2)], 0.14)
        pen.fill(ribbon(shine, 10, 0), (255, 255, 255), 60)
    bridge = head.on([(-0.13, EYE_Y - 0.02), (0, EYE_Y - 0.06), (0.13, EYE_Y - 0.02)], 0.2)
    pen.fill(ribbon(bridge, 8, 0), (32, 28, 30), 235)


# Right half of the hair behind the head, and right-to-left hairline in front, by style.
_HAIR_BACK: dict[str, list] = {
    "bob": [(0.4, -1.5), (1.0, -1.1), (1.24, -0.3), (1.26, 0.5), (1.1, 1.0), (0.5, 1.1)],
    "long": [(0.4, -1.5), (1.0, -1.1), (1.25, -0.3), (1.28, 0.8), (1.36, 1.9), (0.7, 2.2)],
    "fringe": [(0.4, -1.5), (1.0, -1.1), (1.25, -0.3), (1.26, 0.8), (1.2, 1.5), (0.6, 1.6)],
    "curly": [(0.5, -1.72), (1.15, -1.3), (1.5, -0.5), (1.4, 0.3), (1.1, 0.7), (0.5, 0.6)],
    "afro": [(0.6, -1.85), (1.3, -1.4), (1.62, -0.6), (1.45, 0.1), (1.0, 0.4), (0.4, 0.3)],
}
