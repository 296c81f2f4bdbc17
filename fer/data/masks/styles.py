"""Mask styles: shape, colour, texture, and their variation within a style.

A style is a function from a random generator to a `Mask`; `@style` registers it. Colours are
albedos in 0...255. Geometry is in `fer.data.masks.geometry`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from fer.data.masks.geometry import Array, Cut, Fit, sampled_fit, varied
from fer.data.masks.texture import (
    BLUES,
    CLOTH_COLOURS,
    RGB,
    SURGICAL_COLOURS,
    WHITES,
    Rng,
    any_colour,
    line,
    mix,
    opaque,
    pick,
    plain,
    spots,
    step,
)
from fer.errors import CallerError, choices

Texture = Callable[[Array, Array], tuple[Array, Array]]
"""Maps u and v to colour (..., 3) in 0...255 and opacity (...,) in 0...1."""

WELL_WORN = Fit()


@dataclass(frozen=True)
class Mask:
    """One mask on one face.

    Attributes:
        style: its name in the registry.
        cut, fit: its shape and how it is worn.
        texture: its colours.
        straps: `ears`, `head` or `none`.
        strap_colour: of the straps.
        lit: whether it adapts to the light of the scene; KDDI's does not.
        wrinkles: depth of random folds, 0...1.
        shadow: strength of its shadow on the skin, 0...1.
        seed: of its wrinkles.
    """

    style: str
    cut: Cut
    texture: Texture
    fit: Fit = WELL_WORN
    straps: str = "ears"
    strap_colour: RGB = (238, 238, 238)
    lit: bool = True
    wrinkles: float = 0.35
    shadow: float = 0.45
    seed: int = 0


STYLES: dict[str, Callable[[Rng], Mask]] = {}
"""Style name -> a function that returns one mask of it."""


def style(make: Callable[[Rng], Mask]) -> Callable[[Rng], Mask]:
    """Register a style under its function's name, with `_` replaced by `-`."""
    STYLES[make.__name__.strip("_").replace("_", "-")] = make
    return make


def named(names: Iterable[str]) -> tuple[str, ...]:
    """Return style names in the registry's order; `all` means all except `flat`.

    Raises:
        CallerError: an unknown style, or none.
    """
    wanted = set(names)
    if "all" in wanted:
        wanted = wanted - {"all"} | (STYLES.keys() - {"flat"})
    unknown = sorted(wanted - STYLES.keys())
    if unknown or not wanted:
        problem = f"no mask style '{unknown[0]}'" if unknown else "no mask style given"
        raise CallerError(f"{problem}; there are: all, {choices(STYLES)}")
    return tuple(name for name in STYLES if name in wanted)


def sample(name: str, rng: Rng, fit: Fit | None = None) -> Mask:
    """Return one mask of a style; how it is worn is sampled too unless `fit` is given."""
    mask = STYLES[name](rng)
    worn = sampled_fit(rng)
    seed = int(rng.integers(1 << 31))
    if name == "flat" and fit is None:
        worn = WELL_WORN
    return replace(mask, fit=fit or worn, seed=seed)


@style
def flat(rng: Rng) -> Mask:
    """Return KDDI's mask: a white sheet without shading or folds."""
    return Mask("flat", Cut(nose=0.22, side_top=0.36, chin=1.5, side_low=1.05),
                lambda u, v: opaque(plain((244, 246, 247), u)), lit=False, wrinkles=0, shadow=0)


@style
def surgical(rng: Rng) -> Mask:
    """Return a pleated surgical mask."""
    colour = pick(rng, SURGICAL_COLOURS)
    pleats = np.array([0.30, 0.50, 0.70]) + rng.normal(0, 0.015, 3)

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        out = plain(colour, u)
        for centre in pleats:
            sag = v + 0.03 * (1 - u * u)
            out = mix(out, (40, 46, 56), 0.34 * line(sag, centre, 0.012))
            out = mix(out, (255, 255, 255), 0.25 * line(sag, centre - 0.03, 0.02))
        hem = line(v, 0.045, 0.008) + line(v, 0.955, 0.008) + line(np.abs(u), 0.95, 0.008)
        out = mix(out, (60, 66, 76), 0.22 * np.clip(hem, 0, 1))
        wire = line(v, 0.03, 0.012) * (np.abs(u) < 0.32)
        return opaque(mix(out, (255, 255, 255), 0.35 * wire))

    return Mask("surgical", varied(Cut(), rng), texture, wrinkles=rng.uniform(0.2, 0.6))


@style
def kn95(rng: Rng) -> Mask:
    """Return a folded respirator with a seam from nose to chin."""
    colour = pick(rng, (*WHITES, *WHITES, *WHITES, (34, 35, 38), (150, 154, 160)))

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        out = mix(plain(colour, u), (60, 62, 66), 0.38 * line(u, 0, 0.014))
        weld = line(np.abs(u), 0.93, 0.02) + line(v, 0.03, 0.015) + line(v, 0.97, 0.015)
        dashes = 0.5 + 0.5 * np.sign(np.sin(90 * (u + v)))
        out = mix(out, (110, 114, 120), 0.28 * np.clip(weld, 0, 1) * dashes)
        wire = line(v, 0.07, 0.018) * (np.abs(u) < 0.30)
        return opaque(mix(out, (150, 154, 160), 0.45 * wire))

    cut = Cut(nose=0.14, side_top=0.5, chin=1.52, side_low=0.98, reach=(0.88, 0.86), bulge=0.20,
              ridge=0.85, wave=0.03, curve=1.25)
    return Mask("kn95", varied(cut, rng, 0.025), texture, strap_colour=colour, wrinkles=0.12)


@style
def n95_valve(rng: Rng) -> Mask:
    """Return a cup respirator with a valve and two head bands."""
    colour = pick(rng, (*WHITES, *WHITES, (206, 214, 220), (228, 222, 206)))
    valve_u, valve = rng.choice([0.0, 0.36]), pick(rng, ((120, 124, 130), (216, 218, 220),
                                                          (60, 96, 150), (40, 42, 46)))

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        out = plain(colour, u)
        rim = np.maximum(np.abs(u), np.abs(2 * v - 1))
        out = mix(out, (150, 150, 146), 0.35 * line(rim, 0.93, 0.02))
        out = mix(out, (150, 152, 156), 0.7 * line(v, 0.06, 0.025) * (np.abs(u) < 0.26))
        away = np.hypot((u - valve_u) / 0.17, (v - 0.55) / 0.115)
        out = mix(out, valve, np.clip((1 - away) * 12, 0, 1))
        out = mix(out, (20, 20, 24), 0.45 * line(away, 1.0, 0.07))
        slots = (np.abs(np.sin(34 * (v - 0.55))) > 0.8) & (away < 0.75)
        return opaque(mix(out, (20, 20, 24), 0.35 * slots))

    cut = Cut(nose=0.12, side_top=0.52, chin=1.46, side_low=0.92, reach=(0.74, 0.74), bulge=0.30,
              ridge=0.1, wave=0.05, curve=1.5)
    return Mask("n95-valve", varied(cut, rng, 0.025), texture, straps="head",
                strap_colour=pick(rng, ((222, 186, 92), (236, 236, 232), (70, 90, 140))),
                wrinkles=0.05)


@style
def cloth(rng: Rng) -> Mask:
    """Return a plain cloth mask with a centre seam."""
    colour = pick(rng, CLOTH_COLOURS) if rng.random() < 0.75 else any_colour(rng)
    weave = rng.uniform(0.02, 0.06)

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        out = plain(colour, u) * (1 + weave * np.sin(150 * u) * np.sin(130 * v))[..., None]
        out = mix(out, (10, 10, 14), 0.30 * line(u, 0, 0.012))
        hem = line(v, 0.06, 0.01) + line(v, 0.94, 0.01) + line(np.abs(u), 0.94, 0.01)
        return opaque(mix(out, (10, 10, 14), 0.22 * np.clip(hem, 0, 1)))

    return Mask("cloth", varied(_CLOTH_CUT, rng), texture, strap_colour=colour,
                wrinkles=rng.uniform(0.3, 0.8))


_CLOTH_CUT = Cut(nose=0.16, side_top=0.46, chin=1.5, side_low=1.0, reach=(0.88, 0.86), bulge=0.08,
                 ridge=0.4, curve=1.4)


@style
def patterned(rng: Rng) -> Mask:
    """Return a cloth mask with stripes, dots, checks or flowers."""
    base, second, third = any_colour(rng), any_colour(rng), any_colour(rng)
    kind = str(rng.choice(["stripes", "dots", "checks", "flowers"]))
    scale, angle = rng.uniform(5, 10), rng.uniform(-0.6, 0.6)

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        a = scale * (np.cos(angle) * u + np.sin(angle) * 1.2 * v)
        b = scale * (-np.sin(angle) * u + np.cos(angle) * 1.2 * v)
        out = plain(base, u)
        if kind == "stripes":
            out = mix(out, second, step(np.sin(np.pi * a)))
        elif kind == "checks":
            out = mix(out, second, 0.55 * step(np.sin(np.pi * a)))
            out = mix(out, third, 0.55 * step(np.sin(np.pi * b)))
        else:
            out = spots(out, a, b, second, third, kind == "flowers")
        return opaque(mix(out, (10, 10, 14), 0.25 * line(u, 0, 0.012)))

    return Mask("patterned", varied(_CLOTH_CUT, rng), texture,
                strap_colour=pick(rng, (base, (238, 238, 238), (30, 30, 34))),
                wrinkles=rng.uniform(0.25, 0.7))


@style
def bandana(rng: Rng) -> Mask:
    """Return a triangular bandana, tied behind the head."""
    base = pick(rng, ((150, 24, 32), (24, 34, 84), (26, 26, 30), (60, 88, 58), (196, 120, 40)))
    light = (232, 226, 214)

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        out = spots(plain(base, u), 6 * u, 5.5 * v, light, base, True)
        border = step(np.sin(60 * u)) * line(v, 0.10, 0.03)
        return opaque(mix(out, light, 0.9 * border))

    cut = Cut(nose=0.20, side_top=0.30, chin=2.05, side_low=0.82, reach=(1.0, 1.0), bulge=0.06,
              ridge=0.2, curve=0.95)
    return Mask("bandana", varied(cut, rng), texture, straps="none",
                wrinkles=rng.uniform(0.6, 1.0))


@style
def window(rng: Rng) -> Mask:
    """Return a cloth mask with a transparent window over the mouth, made for lip-reading."""
    colour = pick(rng, (*WHITES, *CLOTH_COLOURS, *BLUES))

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        away = np.hypot(u / 0.50, (v - 0.58) / 0.24)
        out = mix(plain(colour, u), (20, 20, 24), 0.35 * line(away, 1.0, 0.05))
        clear = np.clip((1 - away) * 9, 0, 1)
        glare = line(u + 0.6 * v, 0.12, 0.05) + 0.6 * line(u + 0.6 * v, 0.62, 0.03)
        out = mix(out, (250, 252, 255), clear)
        return out, 1 - clear * (0.90 - 0.32 * np.clip(glare, 0, 1))

    return Mask("window", varied(_CLOTH_CUT, rng), texture, strap_colour=colour,
                wrinkles=rng.uniform(0.1, 0.3))


@style
def sponge(rng: Rng) -> Mask:
    """Return a seamless mask of black or grey foam, in one piece with its loops."""
    colour = pick(rng, ((26, 27, 30), (26, 27, 30), (26, 27, 30), (92, 94, 98), (208, 176, 176)))
    grain = int(rng.integers(1 << 31))

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        noise = np.random.default_rng(grain).normal(0, 0.045, u.shape)
        out = plain(colour, u) * (1 + noise[..., None])
        return opaque(mix(out, (150, 152, 156), 0.16 * line(u, 0, 0.05)))

    cut = Cut(nose=0.12, side_top=0.38, chin=1.5, side_low=0.86, reach=(0.98, 0.96), bulge=0.06,
              ridge=0.55, wave=0.07, curve=1.2)
    return Mask("sponge", varied(cut, rng, 0.03), texture, strap_colour=colour, wrinkles=0.08)


@style
def printed(rng: Rng) -> Mask:
    """Return a cloth mask with a printed mouth, or with letters and a logo."""
    colour = pick(rng, (*WHITES, *CLOTH_COLOURS, *CLOTH_COLOURS))
    ink = (200, 44, 60) if rng.random() < 0.5 else any_colour(rng)
    mouth = rng.random() < 0.6
    lift = rng.choice([-0.16, 0.0, 0.2, 0.26])

    def texture(u: Array, v: Array) -> tuple[Array, Array]:
        """Return colour and opacity at u and v."""
        out = plain(colour, u)
        if mouth:
            across = np.clip(u / 0.46, -1, 1)
            centre = 0.60 - lift * (across**2 - 0.4)
            half = 0.085 * np.sqrt(np.clip(1 - across**2, 0, 1))
            inside = np.clip((half - np.abs(v - centre)) * 60, 0, 1) * (np.abs(u) < 0.46)
            out = mix(out, ink, inside)
            teeth = np.clip((0.55 * half - np.abs(v - centre)) * 60, 0, 1) * (np.abs(u) < 0.40)
            return opaque(mix(out, (246, 244, 238), teeth * (lift > 0.1)))
        badge = np.hypot((u - 0.42) / 0.2, (v - 0.5) / 0.13)
        out = mix(out, ink, np.clip((1 - badge) * 9, 0, 1))
        bars = step(np.sin(46 * u)) * (np.abs(v - 0.82) < 0.03) * (np.abs(u) < 0.5)
        return opaque(mix(out, ink, bars))

    return Mask("printed", varied(_CLOTH_CUT, rng), texture, strap_colour=colour,
                wrinkles=rng.uniform(0.15, 0.5))
