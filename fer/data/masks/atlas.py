"""Mask augmentation: an atlas of drawn masks that is composited onto batches on their device.

The atlas is drawn once per image size, with several masks of each style in slightly different
poses over a template's face. The mask of a sample, its mirroring and its shift are a function of
(seed, epoch, uid, pass), like all augmentation. For faces with individual landmarks, write a masked
copy instead (`fer.data.masks.masked_copy`).
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fer.atomic_io import replacing
from fer.config.augmentation import Masks
from fer.data.augment.random_numbers import Samples
from fer.data.faces.face_points import Points, template
from fer.data.masks.erasing import ERASED, erase
from fer.data.masks.render import (
    BRIGHTEST,
    DIMMEST,
    GREY,
    OWN,
    Layer,
    light_across,
    render,
)
from fer.data.masks.styles import named, sample
from fer.data.pack import only_builder
from fer.data.stable_hash import key, text_word

ATLAS_VERSION = 1  # raised together with `Masks.drawing` when any mask looks different
PER_STYLE = 12
SHIFT = 0.02  # of the side: typical distance of landmarks from the template's
COARSE = 4  # stride in pixels for estimating the brightness of a face
GAIN = 0.08  # a mask's brightness varies by this factor around 1

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Atlas:
    """K drawn masks over one template's face, cropped to the h x w pixels covered by any of them.

    Attributes:
        colour: uint8 (K, h, w, 3).
        alpha: uint8 (K, h, w), opacity.
        shade: uint8 (K, h, w), shadow on the skin, 255 = black.
        lit: bool (K,), whether a mask adapts to the light of the image.
        corner: int64 (2,), row and column of the crop in the image.
        side: int64 (1,), the image side in pixels.
    """

    colour: Bytes
    alpha: Bytes
    shade: Bytes
    lit: NDArray[np.bool_]
    corner: NDArray[np.int64]
    side: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lit)

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """Start and stop row, start and stop column of each mask in the crop: (K, 4)."""
        there = np.asarray((self.alpha | self.shade) > 0)
        rows, columns = np.any(there, axis=2), np.any(there, axis=1)
        return np.stack([_first(rows), rows.shape[1] - _first(rows[:, ::-1]),
                         _first(columns), columns.shape[1] - _first(columns[:, ::-1])], axis=1)


def _first(lines: NDArray) -> NDArray[np.int64]:
    return np.argmax(lines, axis=1)


def make_atlas(styles: tuple[str, ...], face: str, side: int) -> Atlas:
    """Draw the atlas of some styles over a template's face; about 25 ms per mask."""
    layers = [_drawn(name, number, face, side) for name in styles for number in range(PER_STYLE)]
    top, left = (min(getattr(layer, name) for layer in layers) for name in ("top", "left"))
    top, left = max(top, 0), max(left, 0)
    bottom = min(max(layer.top + len(layer.alpha) for layer in layers), side)
    right = min(max(layer.left + layer.alpha.shape[1] for layer in layers), side)
    window = (top, left, bottom - top, right - left)
    return Atlas(colour=np.stack([_cut(layer, layer.colour, window) for layer in layers]),
                 alpha=np.stack([_cut(layer, layer.alpha, window) for layer in layers]),
                 shade=np.stack([_cut(layer, layer.shade, window) for layer in layers]),
                 lit=np.array([layer.lit for layer in layers]),
                 corner=np.array([top, left]), side=np.array([side]))


def _drawn(name: str, number: int, face: str, side: int) -> Layer:
    rng = np.random.default_rng(key(ATLAS_VERSION, text_word(name), number))
    if name == ERASED:
        return erase(_posed(template(face, side, side), rng), rng)
    return render(sample(name, rng), _posed(template(face, side, side), rng))


def _posed(points: Points, rng: np.random.Generator) -> Points:
    """Return landmarks of a head with small random yaw, pitch, roll and scale."""
    middle = points.mean(0)
    roll, size = np.radians(rng.normal(0, 2)), rng.normal(1, 0.03)
    turn = size * np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    moved = (points - middle) @ turn + middle
    moved[2] += rng.normal(0, 0.08, 2) * (points[1, 0] - points[0, 0])  # yaw and pitch
    return moved


def _cut(layer: Layer, values: Bytes, window: tuple[int, int, int, int]) -> Bytes:
    """Return the part of a layer in a window (top, left, height, width), padded with 0."""
    top, left, height, width = window
    out = np.zeros((height, width, *values.shape[2:]), np.uint8)
    y, x = layer.top - top, layer.left - left
    y0, x0 = max(y, 0), max(x, 0)
    y1, x1 = min(y + values.shape[0], height), min(x + values.shape[1], width)
    out[y0:y1, x0:x1] = values[y0 - y : y1 - y, x0 - x : x1 - x]
    return out


def styles_of(masks: Masks) -> tuple[str, ...]:
    """Return the styles of a configuration in the order of the atlas."""
    worn = [style for style in masks.styles if style != ERASED]
    return (*(named(worn) if worn else ()), *((ERASED,) if ERASED in masks.styles else ()))


def ensure_atlas(masks: Masks, side: int, cache: Path) -> Atlas:
    """Return the atlas for a configuration; draw it if it is not in `cache`."""
    styles = styles_of(masks)
    word = key(*map(text_word, styles), PER_STYLE) & 0xFFFFFFFF
    file = cache / "masks" / f"{masks.template}-{side}-{word:08x}-v{ATLAS_VERSION}.npz"
    with only_builder(file):
        if not file.is_file():
            atlas = make_atlas(styles, masks.template, side)
            with replacing(file) as temporary, open(temporary, "wb") as handle:
                np.savez(handle, **{part.name: getattr(atlas, part.name)
                                    for part in fields(Atlas)})
    with np.load(file) as stored:
        return Atlas(**{part.name: stored[part.name] for part in fields(Atlas)})


@dataclass(frozen=True)
class Choice:
    """The masks of n samples: atlas entry, mirroring, shift and brightness."""

    entry: NDArray[np.int64]
    flip: NDArray[np.bool_]
    dx: NDArray[np.int64]
    dy: NDArray[np.int64]
    gain: NDArray[np.float32]

    def some(self, rows: NDArray[np.int64]) -> "Choice":
        """Return the masks of some of the samples."""
        return Choice(*(getattr(self, part.name)[rows] for part in fields(self)))

    def of_styles(self, styles: NDArray[np.int64]) -> "Choice":
        """Return the same masks, but of the given styles, by their places in the atlas."""
        return replace(self, entry=styles * PER_STYLE + self.entry % PER_STYLE)


class MaskAugmentation:
    """Composites masks of the atlas onto some of the images of each batch."""

    def __init__(self, atlas: Atlas, probability: float, device: torch.device | str = "cpu"
                 ) -> None:
        """Args:
        atlas: for the image size.
        probability: of a mask per image.
        device: of the batches.
        """
        self.atlas, self.probability = atlas, probability
        self.device = torch.device(device)

    def choose(self, samples: Samples) -> tuple[NDArray[np.int64], Choice]:
        """Return the samples of a batch that get a mask (int64, ascending), and their masks."""
        wearers = np.flatnonzero(samples.between("mask", 0, 1) < self.probability)
        most = SHIFT * float(self.atlas.side[0])
        dx, dy = (np.rint(samples.between(name, -most, most)).astype(np.int64)[wearers]
                  for name in ("mask dx", "mask dy"))
        entry = samples.between("mask entry", 0, len(self.atlas)).astype(np.int64)
        gain = samples.between("mask gain", 1 - GAIN, 1 + GAIN).astype(np.float32)
        return wearers, Choice(entry[wearers], samples.between("mask flip", 0, 1)[wearers] < 0.5,
                               dx, dy, gain[wearers])

    def apply(self, images: Tensor, samples: Samples) -> Tensor:
        """Composite masks onto a batch in place and return it.

        Args:
            images: uint8 (N, S, S, 3), owned by the caller.
            samples: the keys of their augmentation.
        """
        return self.wear(images, *self.choose(samples))

    def wear(self, images: Tensor, wearers: NDArray[np.int64], choice: Choice) -> Tensor:
        """Composite given masks onto a batch in place and return it.

        Args:
            images: as for `apply`.
            wearers: int64 (n,), the rows that get a mask.
            choice: their n masks.
        """
        if not len(wearers):
            return images
        if images.device.type == "cpu":
            pictures = images.numpy()
            for row, number in enumerate(wearers.tolist()):
                _wear(pictures[number], self.atlas, choice, row)
            return images
        rows = torch.from_numpy(wearers).to(images.device)
        worn = wear_all(images.index_select(0, rows), self.atlas, self.layers, choice)
        return images.index_copy_(0, rows, worn)

    @cached_property
    def layers(self) -> Tensor:
        """The atlas on the device: uint8 (K, h, w, 5), colour, alpha and shade."""
        parts = (self.atlas.colour, self.atlas.alpha[..., None], self.atlas.shade[..., None])
        return torch.from_numpy(np.concatenate(parts, axis=-1)).to(self.device)


def _wear(picture: Bytes, atlas: Atlas, choice: Choice, row: int) -> None:
    """Composite one mask onto one image, uint8 (S, S, 3), in place: the fast path on a CPU."""
    k, flip, side = choice.entry[row], choice.flip[row], len(picture)
    (top, left), (height, width) = atlas.corner.tolist(), atlas.alpha.shape[1:]
    first_row, last_row, first, last = atlas.boxes[k].tolist()  # the rest of the crop is empty
    y0 = top + first_row + int(choice.dy[row])
    x0 = (side - left - last if flip else left + first) + int(choice.dx[row])
    y, x = max(-y0, 0), max(-x0, 0)
    y1, x1 = min(last_row - first_row, side - y0), min(last - first, side - x0)
    if y >= y1 or x >= x1:
        return
    rows, turn = slice(first_row + y, first_row + y1), -1 if flip else 1
    colour, alpha, shade = (layer[k][rows, first:last][:, ::turn][:, x:x1].astype(np.float32)
                            for layer in (atlas.colour, atlas.alpha, atlas.shade))
    if atlas.lit[k]:
        face = picture[top : top + height : COARSE, left : left + width : COARSE]
        half = face.shape[1] // 2
        slope = light_across(_brightness(face[:, :half]), _brightness(face[:, half:]), width)
        begin = x0 + x - (side - left - width if flip else left) - int(choice.dx[row])
        colour *= (slope[begin : begin + x1 - x] * choice.gain[row])[:, None]
    place = picture[y0 + y : y0 + y1, x0 + x : x0 + x1]
    skin = place.astype(np.float32)
    skin *= (1 - shade / 255)[..., None]
    colour -= skin
    colour *= (alpha / 255)[..., None]
    skin += colour
    place[...] = np.rint(np.minimum(skin, 255, out=skin), out=skin)


def _brightness(part: Bytes) -> float:
    return float(part.mean(dtype=np.float64))


def wear_all(images: Tensor, atlas: Atlas, layers: Tensor, choice: Choice) -> Tensor:
    """Return images with one mask each, as one batch: the fast path on a GPU.

    Args:
        images: uint8 (n, S, S, 3).
        layers: uint8 (K, h, w, 5), of the atlas, on the same device.
        choice: for these n images.
    """
    device, side = images.device, images.shape[1]
    top, left = (int(corner) for corner in atlas.corner)
    height, width = layers.shape[1:3]
    entry, flip, dx, dy = (torch.from_numpy(value).to(device) for value in (
        choice.entry, choice.flip, choice.dx, choice.dy))
    place = torch.arange(side, device=device)
    column, row = place[None] - dx[:, None], place[None] - dy[:, None] - top
    column = torch.where(flip[:, None], side - 1 - column, column) - left
    inside = (((row >= 0) & (row < height))[:, :, None]
              & ((column >= 0) & (column < width))[:, None, :])
    worn = layers[entry[:, None, None], row.clamp(0, height - 1)[:, :, None],
                  column.clamp(0, width - 1)[:, None, :]].float()
    worn *= inside[..., None]
    light = _light_of_all(images[:, top : top + height, left : left + width], atlas, choice)
    light = light.gather(1, torch.where(flip[:, None], width - 1 - column, column)
                         .clamp(0, width - 1))
    colour = worn[..., :3] * light[:, None, :, None]
    skin = images.float() * (1 - worn[..., 4:] / 255)
    mixed = skin + (colour - skin) * (worn[..., 3:4] / 255)
    return mixed.clamp_(max=255).round_().to(torch.uint8)


def _light_of_all(faces: Tensor, atlas: Atlas, choice: Choice) -> Tensor:
    """Return the light on each mask from left to right, float32 (n, w); 1 for masks not lit."""
    width = faces.shape[2]
    coarse = faces[:, ::COARSE, ::COARSE].float()
    half = coarse.shape[2] // 2
    halves = [part.mean(dim=(1, 2, 3)) for part in (coarse[:, :, :half], coarse[:, :, half:])]
    ends = (OWN + (1 - OWN) * torch.stack(halves, 1) / GREY).clamp(DIMMEST, BRIGHTEST)
    steps = torch.linspace(-0.5, 1.5, width, device=faces.device).clamp(0, 1)
    slope = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * steps
    slope = slope * torch.from_numpy(choice.gain).to(faces.device)[:, None]
    lit = torch.from_numpy(atlas.lit[choice.entry]).to(faces.device)
    return torch.where(lit[:, None], slope, torch.ones_like(slope))
