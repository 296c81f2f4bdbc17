"""Rendering of a mask for given landmarks, and compositing onto the image.

Drawn as small quadrilaterals from back to front at twice the size, then downsampled. Whole sets are
in `fer.data.masks.masked_copy`, batches in `fer.data.masks.atlas`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fer.data.faces.face_points import Points
from fer.data.masks.geometry import EAR, Array, Camera, brightness, camera_of, normals, surface
from fer.data.masks.styles import Mask

ACROSS, DOWN = 72, 96  # quadrilaterals of the sheet: about a pixel at LFW's size
FINER = 2  # supersampling factor for anti-aliasing; `_block_sums` relies on 2
STRAP = 0.04  # head units
GREY = 128.0  # skin level at which a mask keeps its own brightness
OWN, DIMMEST, BRIGHTEST = 0.72, 0.6, 1.1  # share of the mask's own brightness, and its limits
LIGHT = np.array([0.0, -0.55, 1.0])  # from above the viewer


@dataclass(frozen=True)
class Layer:
    """A rendered mask and its position in the image.

    Attributes:
        left, top: pixels, of the layer's corner in the image; may be outside it.
        colour: uint8 (h, w, 3), under even light; not multiplied by `alpha`.
        alpha: uint8 (h, w), opacity.
        shade: uint8 (h, w), shadow on the skin, 255 = black.
        lit: whether it adapts to the light of the image.
    """

    left: int
    top: int
    colour: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    shade: NDArray[np.uint8]
    lit: bool


def render(mask: Mask, points: Points) -> Layer:
    """Return the mask rendered for a face with these landmarks, (5, 2) pixels."""
    camera = camera_of(points)
    u, v = np.meshgrid(np.linspace(-1, 1, ACROSS + 1), np.linspace(0, 1, DOWN + 1))
    sheet = surface(mask.cut, mask.fit, u, v) + _wrinkled(mask, u, v)
    straps = _straps(mask, sheet, camera)
    flat = camera.project(sheet)
    margin = 0.3 * camera.unit
    outline = np.concatenate([flat.reshape(-1, 2), *straps])
    low = np.floor(outline.min(0) - margin).astype(int)
    width, height = np.ceil(outline.max(0) + margin).astype(int) - low
    canvas = Image.new("RGBA", (int(width) * FINER, int(height) * FINER))
    for strap in straps:
        corners = ((strap - low) * FINER).ravel().tolist()
        ImageDraw.Draw(canvas).polygon(corners, fill=(*mask.strap_colour, 255))
    _fill(canvas, (flat - low) * FINER, *_colours(mask, camera, sheet, u, v))
    colour, alpha = _halved(canvas)
    return Layer(int(low[0]), int(low[1]), colour, alpha, _shade(mask, alpha, camera), mask.lit)


def _wrinkled(mask: Mask, u: Array, v: Array) -> Array:
    """Return random folds of the sheet as shifts along z: (..., 3)."""
    rng = np.random.default_rng(mask.seed)
    depth = np.zeros_like(u)
    strength = mask.wrinkles * (1 + mask.fit.loose)
    for _ in range(7):
        fu, fv = rng.normal(0, 5), rng.normal(0, 7)
        depth += np.sin(fu * u + fv * v + rng.uniform(0, 6.3)) / (4 + abs(fu) + abs(fv))
    depth *= 0.05 * strength
    return depth[..., None] * np.array([0.0, 0.0, 1.0])


def _colours(mask: Mask, camera: Camera, sheet: Array, u: Array, v: Array
             ) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return each quadrilateral's colour (n, 3), alpha (n,), depth (n,) and visibility (n,)."""
    middle = (sheet[:-1, :-1] + sheet[1:, 1:]) / 2
    normal = normals(middle)
    colour, alpha = mask.texture((u[:-1, :-1] + u[1:, 1:]) / 2, (v[:-1, :-1] + v[1:, 1:]) / 2)
    if mask.lit:
        colour = colour * brightness(normal, LIGHT)[..., None]
    towards = camera.towards
    shows = normal @ towards > 0.02
    return colour.reshape(-1, 3), alpha.ravel(), (middle @ towards).ravel(), shows.ravel()


def _fill(canvas: Image.Image, flat: Array, colour: Array, alpha: Array, depth: Array,
          shows: NDArray[np.bool_]) -> None:
    """Draw the visible quadrilaterals from back to front."""
    corners = np.stack([flat[:-1, :-1], flat[:-1, 1:], flat[1:, 1:], flat[1:, :-1]], axis=2)
    order = np.argsort(depth, kind="stable")
    order = order[shows[order]]
    inks = np.rint(np.column_stack([np.clip(colour, 0, 255), 255 * alpha])).astype(int)[order]
    draw = ImageDraw.Draw(canvas)
    quads = corners.reshape(-1, 8)[order].tolist()
    for quad, ink in zip(quads, map(tuple, inks.tolist()), strict=True):
        draw.polygon(quad, fill=ink)


def _straps(mask: Mask, sheet: Array, camera: Camera) -> list[Array]:
    """Return the outlines of the visible straps in pixels: (4, 2) each."""
    if mask.straps == "none":
        return []
    found = []
    for side, column in ((-1, 0), (1, -1)):
        if side * camera.towards[0] < -0.30:
            continue  # that ear is behind the head
        for row, rise in ((4, 0.0), (-5, 0.20)):
            if mask.straps == "head":
                rise += -0.40 if row == 4 else 0.12
            goal = (np.array(EAR) + np.array([0.0, rise, 0.0])) * np.array([side, 1.0, 1.0])
            line = camera.project(np.stack([sheet[row, column], goal]))
            along = line[1] - line[0]
            length = max(float(np.hypot(*along)), 1e-9)
            half = np.array([-along[1], along[0]]) / length * STRAP * camera.unit / 2
            found.append(np.stack([line[0] + half, line[1] + half, line[1] - half,
                                   line[0] - half]))
    return found


def _halved(canvas: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return colour and alpha at image size; colours at edges do not include the background."""
    inked = np.asarray(canvas, np.float32)
    there = (inked[..., 3] > 0).astype(np.float32)
    total = _block_sums(inked[..., :3])  # the empty canvas is 0
    count = _block_sums(there[..., None])
    colour = np.rint(total / np.maximum(count, 1)).astype(np.uint8)
    return colour, np.asarray(canvas.getchannel("A").reduce(FINER))


def _block_sums(values: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = values[::FINER] + values[1::FINER]
    return rows[:, ::FINER] + rows[:, 1::FINER]


def _shade(mask: Mask, alpha: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    """Return the shadow that the mask casts on the skin, mostly below its edge."""
    if not mask.shadow:
        return np.zeros_like(alpha)
    blurred = Image.fromarray(alpha).filter(ImageFilter.GaussianBlur(0.07 * camera.unit))
    fallen = Image.new("L", blurred.size)
    fallen.paste(blurred, (0, round(0.05 * camera.unit)))
    return np.rint(np.asarray(fallen, np.float32) * mask.shadow).astype(np.uint8)


def lay_over(picture: NDArray[np.uint8], layer: Layer) -> NDArray[np.uint8]:
    """Return a copy of the image, uint8 (H, W, 3), with the mask composited onto it."""
    out = picture.copy()
    height, width = picture.shape[:2]
    x0, y0 = max(layer.left, 0), max(layer.top, 0)
    x1 = min(layer.left + layer.alpha.shape[1], width)
    y1 = min(layer.top + layer.alpha.shape[0], height)
    if x0 >= x1 or y0 >= y1:
        return out
    part = np.s_[y0 - layer.top : y1 - layer.top, x0 - layer.left : x1 - layer.left]
    skin = picture[y0:y1, x0:x1].astype(np.float32)
    alpha = layer.alpha[part].astype(np.float32)[..., None] / 255
    colour = layer.colour[part].astype(np.float32)
    if layer.lit:
        colour *= light_of(skin)
    skin *= 1 - layer.shade[part].astype(np.float32)[..., None] / 255
    mixed = skin + (colour - skin) * alpha
    out[y0:y1, x0:x1] = np.rint(np.clip(mixed, 0, 255, out=mixed)).astype(np.uint8)
    return out


def light_of(skin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the brightness of cloth over `skin` from left to right: (1, w, 1), about 1.

    Estimated from the skin's brightness, attenuated: dark skin in bright light must not dim a mask
    much.
    """
    halves = skin.mean(axis=(0, 2))
    left, right = halves[: len(halves) // 2].mean(), halves[len(halves) // 2 :].mean()
    return light_across(left, right, len(halves))[None, :, None]


def light_across(left: float, right: float, width: int) -> NDArray[np.float32]:
    """Return the light on `width` columns of cloth: (width,).

    Args:
        left, right: brightness of the halves of the skin, 0...255.
    """
    ends = np.clip(OWN + (1 - OWN) * np.array([left, right]) / GREY, DIMMEST, BRIGHTEST)
    return np.interp(np.linspace(-0.5, 1.5, width), [0, 1], ends).astype(np.float32)
