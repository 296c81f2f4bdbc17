"""The masks that drawn faces wear in the *real* drawn set.

The synthetic masks of `fer.data.masks` must not share this code: the demo would be tested on what
it was trained on.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fer.data.synthetic.parameters import CANVAS, CIRCLE, RGB, SOFT, Face, Mask, Points, T
from fer.data.synthetic.pen import Head, Pen, enlarged, outline_stencil, ribbon, tint


def _sheet(head: Head, mask: Mask, u: Points, v: Points) -> Points:
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


def sheet_edge(head: Head, mask: Mask) -> Points:
    """Return the outline of a worn mask on the canvas."""
    ones = np.ones(17)
    u = np.concatenate([T, ones, -T, -ones])
    down = (T + 1) / 2
    v = np.concatenate([0 * ones, down, ones, 1 - down])
    return _sheet(head, mask, u, v)


def straps(head: Head, mask: Mask) -> list[Points]:
    """Return the straps of a worn mask as lines on the canvas."""
    straps = []
    for side in (-1.0, 1.0):
        if side * head.turn[0, 2] > 0.15:
            continue  # the far ear is hidden
        for v, y in ((0.06, -0.12), (0.85, 0.22)):
            start = _sheet(head, mask, np.array([side * 0.97]), np.array([v]))
            goal = [(side * 1.02, y - 0.6 * mask.behind_head)]
            straps.append(ribbon(np.concatenate([start, head.flat(goal, -0.1)]), 8, 0))
    return straps


def draw_mask(pen: Pen, head: Head, face: Face) -> None:
    """Draw a worn mask into the scene: straps, sheet, pattern, folds, light and shadow."""
    mask, look = face.mask, face.look
    assert mask is not None
    edge = sheet_edge(head, mask)
    if mask.kind != "bandana":
        for strap in straps(head, mask):
            pen.fill(strap, mask.strap)
    pen.stroke(edge[:18] - [0, 3], (20, 10, 10), 12, 70)  # shadow on the cheeks
    layer = Image.new("RGB", (CANVAS, CANVAS), mask.colour)
    _draw_pattern(Pen(layer), head, mask)
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
    soft = enlarged(shadow.filter(ImageFilter.GaussianBlur(3)))
    layer.paste(tint(mask.colour, 0.3), (0, 0), soft)
    pen.image.paste(layer, (0, 0), outline_stencil(edge))
    pen.fill(ribbon(edge, 4, 0), tint(mask.colour, 0.5), 140)


def _draw_pattern(pen: Pen, head: Head, mask: Mask) -> None:
    def line(u: Points, v: Points, colour: RGB, width: float, alpha: float) -> None:
        pen.fill(ribbon(_sheet(head, mask, u, v), width, 0), colour, alpha)

    across, down, one = T * 1.05, (T + 1) / 2, np.ones(17)
    if mask.pattern in ("stripes", "checks"):
        for v in np.linspace(0.08, 0.95, 6):
            line(across, v * one, mask.second, 13, 210 if mask.pattern == "stripes" else 130)
    if mask.pattern == "checks":
        for u in np.linspace(-0.9, 0.9, 7):
            line(u * one, down, mask.second, 13, 130)
    if mask.pattern == "dots":
        u, v = np.meshgrid(np.linspace(-0.9, 0.9, 8), np.linspace(0.08, 0.92, 6))
        for spot in _sheet(head, mask, (u + 0.12 * (np.arange(6)[:, None] % 2)).ravel(), v.ravel()):
            pen.fill(CIRCLE * 7 + spot, mask.second)
    if mask.kind == "surgical":
        for v in (0.28, 0.48, 0.68):
            line(across, v * one, tint(mask.colour, 0.55), 5, 150)
            line(across, (v - 0.025) * one, (255, 255, 255), 4, 90)
        line(across * 0.5, 0.04 * one, (255, 255, 255), 8, 120)
    if mask.kind == "cone":
        line(0 * one, down, tint(mask.colour, 0.5), 7, 170)
        line(across * 0.35, 0.05 * one, (120, 122, 126), 9, 220)
        if mask.pattern == "valve":
            spot = _sheet(head, mask, np.array([0.42]), np.array([0.55]))[0]
            pen.fill(CIRCLE * 24 + spot, tint(mask.colour, 0.75))
            pen.fill(CIRCLE * 17 + spot, tint(mask.second, 0.9))
    if mask.kind == "cloth":
        line(0 * one, down, tint(mask.colour, 0.55), 4, 110)
