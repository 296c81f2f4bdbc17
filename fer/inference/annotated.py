"""Copies of pictures with their prediction drawn below them."""

import os
from hashlib import blake2b
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fer.inference.picture_loader import load_picture
from fer.inference.prediction import NOT_SURE, Prediction
from fer.legible import pen_font

WIDTH, MOST_HEIGHT = 256, 512  # pixels of the picture in the copy
HEAD, LINE, MARGIN = 26, 18, 8  # pixels: of the answer, of one bar, around them
BLUE, GREY, INK = (0, 114, 178), (170, 170, 170), (20, 20, 20)
NAME_WIDTH, NUMBER_WIDTH = 70, 36  # pixels of a class name and of a percentage
LETTERS = 12  # of a class name that fit
QUALITY = 90
LONGEST_STEM = 200  # bytes; a name has at most 255


def annotate(prediction: Prediction, folder: Path) -> Path | None:
    """Write a picture with its answer and a bar for each class; None if it is unusable.

    The name is that of the picture, with a hash of its path, so that two folders may have the same
    names.
    """
    if prediction.reason:
        return None
    image, _ = load_picture(prediction.file)
    if image is None:  # changed since it was predicted
        return None
    name = Path(prediction.file)
    digest = blake2b(os.fsencode(name.absolute()), digest_size=4).hexdigest()
    stem = os.fsdecode(os.fsencode(name.stem)[:LONGEST_STEM])
    target = folder / f"{stem}-{digest}.jpg"
    folder.mkdir(parents=True, exist_ok=True)
    draw_prediction(image, prediction).save(target, quality=QUALITY)
    return target


def draw_prediction(image: Image.Image, prediction: Prediction) -> Image.Image:
    """Return an RGB image with the answer and the probabilities, calibrated if possible, below."""
    picture = _resized(image)
    shown = prediction.calibrated or prediction.probabilities
    height = picture.height + HEAD + LINE * len(shown) + MARGIN
    sheet = Image.new("RGB", (WIDTH, height), "white")
    sheet.paste(picture, ((WIDTH - picture.width) // 2, 0))
    pen = ImageDraw.Draw(sheet)
    top = picture.height + 5
    answer = prediction.answer
    if answer == NOT_SURE:
        answer = f"{NOT_SURE}: {prediction.label}?"
    text, font = pen_font(answer, 15)
    pen.text((MARGIN, top), text, INK, font)
    small, left = ImageFont.load_default(11), MARGIN + NAME_WIDTH
    room = WIDTH - left - NUMBER_WIDTH - MARGIN
    for row, (name, value) in enumerate(shown.items()):
        y = top + HEAD - 4 + row * LINE
        colour = BLUE if name == prediction.label and prediction.sure is not False else GREY
        text, font = pen_font(name[:LETTERS], 11)
        pen.text((MARGIN, y), text, INK, font)
        pen.rectangle((left, y + 1, left + max(1, round(room * value)), y + LINE - 6), colour)
        pen.text((WIDTH - MARGIN, y), f"{value:.0%}", INK, small, anchor="ra")
    return sheet


def _resized(image: Image.Image) -> Image.Image:
    scale = min(WIDTH / image.width, MOST_HEIGHT / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)
