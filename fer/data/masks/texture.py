"""Building blocks of mask textures: lines, steps and spots on a sheet.

All functions work on arrays of points (...,) with colours (..., 3) in 0...255.
"""

import numpy as np

from fer.data.masks.geometry import Array

RGB = tuple[int, int, int]
Rng = np.random.Generator
WHITES: tuple[RGB, ...] = ((242, 244, 245), (236, 238, 236))
BLUES: tuple[RGB, ...] = ((150, 196, 224), (172, 210, 228), (118, 176, 214))
SURGICAL_COLOURS: tuple[RGB, ...] = (
    *BLUES, *BLUES, *WHITES, *WHITES, (140, 200, 180), (242, 190, 206), (38, 40, 44),
    (190, 176, 216))
CLOTH_COLOURS: tuple[RGB, ...] = (
    (28, 29, 34), (28, 29, 34), (44, 48, 62), (24, 38, 78), (108, 28, 40), (92, 98, 104),
    (206, 198, 184), (62, 84, 66), (236, 234, 228))


def plain(colour: RGB, u: Array) -> Array:
    """Return one colour at every point of `u`: (..., 3)."""
    return np.broadcast_to(np.array(colour, float), (*u.shape, 3)).copy()


def line(at: Array, centre: float, width: float) -> Array:
    """Return 1 on a line, with Gaussian falloff to 0."""
    return np.exp(-(((at - centre) / width) ** 2))


def mix(colour: Array, other: RGB | Array, share: Array) -> Array:
    """Return `colour` blended with a `share` (...,) of another colour."""
    return colour + (np.asarray(other, float) - colour) * share[..., None]


def opaque(colour: Array) -> tuple[Array, Array]:
    """Return a colour with full opacity."""
    return colour, np.ones(colour.shape[:-1])


def step(wave: Array) -> Array:
    """Return 1 where a wave is positive, with soft edges."""
    return np.clip(wave * 4 + 0.5, 0, 1)


def spots(out: Array, a: Array, b: Array, second: RGB, third: RGB, petals: bool) -> Array:
    """Return `out` with a dot or a flower in every cell of the grid (a, b), with staggered rows."""
    row = np.floor(b)
    x, y = np.mod(a + 0.5 * np.mod(row, 2), 1) - 0.5, b - row - 0.5
    away = np.hypot(x, y)
    edge = 0.27 + (0.12 * np.cos(5 * np.arctan2(y, x)) if petals else 0)
    out = mix(out, second, np.clip((edge - away) * 14, 0, 1))
    return mix(out, third, np.clip((0.1 - away) * 14, 0, 1)) if petals else out


def pick(rng: Rng, colours: tuple[RGB, ...]) -> RGB:
    """Return a random colour of several."""
    return colours[int(rng.integers(len(colours)))]


def any_colour(rng: Rng) -> RGB:
    """Return a random hue, saturation and brightness."""
    value, depth = rng.uniform(45, 230), rng.uniform(0.2, 0.9)
    r, g, b = (int(c) for c in value * (1 - depth * rng.dirichlet((0.6, 0.6, 0.6))))
    return r, g, b
