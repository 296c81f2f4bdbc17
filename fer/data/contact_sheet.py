"""Contact sheets of masks on faces and of augmentation presets."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fer.config.augmentation import Mix
from fer.data.augment.mixing import as_unit, mixed, mixture
from fer.data.augment.presets import PRESETS
from fer.data.augment.random_numbers import Samples
from fer.data.decode import inspect_picture
from fer.data.faces.face_points import Points
from fer.data.layout import class_folders, discover, picture_files, split_folders
from fer.data.masks.landmarks import landmark_source
from fer.data.masks.render import lay_over, render
from fer.data.masks.styles import STYLES, WELL_WORN, sample
from fer.data.pack_rows import fit
from fer.data.stable_hash import key, text_word
from fer.data.synthetic.face import draw, landmarks
from fer.data.synthetic.sampling import plan_shots, sample_face
from fer.errors import CallerError, choices
from fer.legible import pen_font

Picture = NDArray[np.uint8]
Face = tuple[str, Picture, Points | None]  # name, pixels, landmarks if requested

SIZE = 224
EXAMPLES = 9  # of a preset for each picture
HEAD = 22  # pixels above a column, for its name
MIXES = {"mixup": Mix(how="mixup", alpha=1.0), "cutmix": Mix(how="cutmix", alpha=1.0)}
BADLY = 2  # in one of so many rows masks are worn properly, in the others as sampled


def sheet(what: str, folder: Path | None, points: str, rows: int, out: Path
          ) -> tuple[int, int]:
    """Write a contact sheet, PNG or JPEG by its suffix; return its width and height in pixels.

    Args:
        what: `masks`, `mixup`, `cutmix` or the name of a preset.
        folder: of a data set; None for drawn faces.
        points: source of its landmarks, as for `landmark_source`; not needed for presets.
        rows: number of pictures.

    Raises:
        CallerError: no such sheet, no pictures, or no landmarks.
    """
    if what not in (known := ["masks", *PRESETS, *MIXES]):
        raise CallerError(f"no sheet of '{what}'; there are: {choices(known)}")
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise CallerError(f"--out {out}: a .png or .jpg file")
    if rows < 1:
        raise CallerError(f"--rows {rows}: at least one picture")
    if what == "masks" and folder is not None and not points:
        raise CallerError("masks need landmarks: set --landmarks to funnelled, cropped, "
                          "detect or a CSV file")
    faces = drawn_faces(rows) if folder is None else _faces_of(folder, points, rows)
    if what in MIXES:
        titles, cells = _mixes(MIXES[what], faces)
    else:
        titles, cells = _masks(faces) if what == "masks" else _preset(what, faces)
    image = table(titles, cells)
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out)
    return image.size


def drawn_faces(count: int) -> list[Face]:
    """Return drawn faces with their landmarks, one per person."""
    shots = [shot for shot in plan_shots(1234, "lfw_train", 40 * count) if shot.picture == 0]
    faces = [(shot, sample_face(1234, shot)) for shot in shots[:count]]
    return [(f"drawn {shot.person}", np.asarray(draw(face)), landmarks(face))
            for shot, face in faces]


def _faces_of(folder: Path, points: str, count: int) -> list[Face]:
    """Return a pseudo-random choice of usable pictures of a set, with landmarks if requested."""
    top = discover(folder)
    files = [(f"{split}/{cls.name.lower()}/{name}", cls / name)
             for split, place in split_folders(top) for cls in class_folders(place)
             for name in sorted(picture_files(folder.name, cls))]
    files.sort(key=lambda entry: key(text_word(entry[0])))
    faces = landmark_source(points) if points else None
    found = list(islice(
        ((file, pixels, faces.of(file, pixels) if faces else None) for file, path in files
         if (pixels := inspect_picture(path)[0]) is not None), count))
    if not found:
        raise CallerError(f"{folder}: no usable pictures")
    return found


def _masks(faces: Sequence[Face]) -> tuple[list[str], list[list[Picture]]]:
    cells = []
    for row, (name, pixels, points) in enumerate(faces):
        if points is None:
            raise CallerError(f"{name}: no face found")
        worn = WELL_WORN if row % BADLY == 0 else None
        rngs = [np.random.default_rng(key(row, text_word(style))) for style in STYLES]
        masks = [sample(style, rng, worn) for style, rng in zip(STYLES, rngs, strict=True)]
        cells.append([pixels, *(lay_over(pixels, render(mask, points)) for mask in masks)])
    return ["original", *STYLES], [[_square(cell) for cell in row] for row in cells]


def _preset(name: str, faces: Sequence[Face]) -> tuple[list[str], list[list[Picture]]]:
    preset = PRESETS[name]
    cells = []
    for file, pixels, _ in faces:
        images = torch.from_numpy(np.repeat(_square(pixels)[None], EXAMPLES, axis=0))
        numbers = np.arange(EXAMPLES)
        uids = np.array([text_word(f"{file} {number // preset.passes}") for number in numbers],
                        np.uint64)
        out = preset.apply(images, Samples(0, 0, uids, numbers % preset.passes))
        values = out.permute(0, 2, 3, 1).float() * (1 if out.dtype == torch.uint8 else 255)
        shown = values.clamp(0, 255).round().to(torch.uint8).numpy()
        cells.append([_square(pixels), *shown])
    return ["original", *(f"{name}, pass {number % preset.passes}"
                          for number in range(EXAMPLES))], cells


def _mixes(mix: Mix, faces: Sequence[Face]) -> tuple[list[str], list[list[Picture]]]:
    squares = torch.from_numpy(np.stack([_square(pixels) for _, pixels, _ in faces]))
    planes = as_unit(squares.permute(0, 3, 1, 2))
    cells = []
    for row, (file, pixels, _) in enumerate(faces):
        uids = np.array([text_word(f"{file} {number}") for number in range(EXAMPLES)], np.uint64)
        samples = Samples(0, 0, uids, np.zeros(EXAMPLES, np.int64))
        pairs = mixture(mix, samples, np.full(EXAMPLES, row), len(faces), SIZE)
        out = mixed(planes[np.full(EXAMPLES, row)], planes[pairs.partner], pairs)
        shown = (out.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        cells.append([_square(pixels), *shown])
    return ["original", *[f"{mix.how} {number + 1}" for number in range(EXAMPLES)]], cells


def _square(pixels: Picture) -> Picture:
    return fit(Image.fromarray(pixels), SIZE)


def table(titles: Sequence[str], cells: Sequence[Sequence[Picture]]) -> Image.Image:
    """Return a grid of square pictures under column titles."""
    image = Image.new("RGB", (SIZE * len(titles), SIZE * len(cells) + HEAD), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        text, font = pen_font(title, 15)
        pen.text((SIZE * column + SIZE / 2, HEAD / 2), text, (20, 20, 20), font, anchor="mm")
        for row, line in enumerate(cells):
            image.paste(Image.fromarray(line[column]), (SIZE * column, HEAD + SIZE * row))
    return image
