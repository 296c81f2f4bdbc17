"""Reader for a CSV of pixels like FER2013's: `emotion, pixels, Usage`, one grey picture per row.

The challenge's parts become splits: Training = train, PublicTest = val, PrivateTest = eval.
Pictures are written as greyscale PNG.
"""

import csv
from functools import partial
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer.data.ingest.archive import sha256_of
from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import Labels
from fer.data.ingest.picture_table import read_rows
from fer.errors import CallerError, choices
from fer.plain_text import shortened

USAGES = {"training": "train", "publictest": "val", "privatetest": "eval"}


def holds_pixels(file: Path) -> bool:
    """Return whether a CSV's header names pixels."""
    with open(file, encoding="utf-8-sig", errors="replace", newline="") as handle:
        header = next(csv.reader([handle.readline()]), [])
    return "pixels" in [name.strip().lower() for name in header]


def read_pixels(file: Path, labels: Labels, split: str = "") -> Incoming:
    """Return the content of a CSV of pixels; `split` is for rows without a `Usage`.

    Raises:
        CallerError: a missing column, an unknown label or usage, or pixels that are not a square of
            numbers in 0...255. Names the line.
    """
    rows, columns = read_rows(file)
    names = {name.strip().lower(): name for name in columns}
    missing = [name for name in ("emotion", "pixels") if name not in names]
    if missing:
        raise CallerError(f"{file}: no column '{missing[0]}'; columns are: emotion, pixels, Usage")
    items, left_out = [], []
    for line, row in enumerate(rows, 2):
        place = f"{file}:{line}"
        cls = labels.of(row[names["emotion"]], place)
        usage = row[names["usage"]].strip().lower() if "usage" in names else ""
        where = USAGES.get(usage, "") if usage else split
        if not where:
            raise CallerError(f"{place}: usage '{shortened(usage)}' is not one of "
                              f"{choices(USAGES)}, and --split is not set")
        if cls is None:
            left_out.append(labels.left_out(row[names["emotion"]], f"line {line}"))
            continue
        items.append(pixel_item(row[names["pixels"]], where, cls, line, place))
    return Incoming(str(file.absolute()), items, digest=sha256_of(file), left_out=left_out)


def pixel_item(text: str, split: str, cls: str, line: int, place: str) -> Item:
    """Return the item of a row of pixels; `line` is its line in the CSV, `place` for messages."""
    picture = _picture(text, place)
    return Item(split, cls, f"{line - 1:06d}.png", picture.size, f"line {line}",
                partial(_write, picture))


def _picture(text: str, place: str) -> NDArray[np.uint8]:
    try:
        values = np.array(text.split(), np.int64)
    except (ValueError, OverflowError):
        raise CallerError(f"{place}: pixels are not whole numbers") from None
    side = isqrt(len(values))
    if side * side != len(values) or not len(values):
        raise CallerError(f"{place}: {len(values)} pixels do not form a square picture")
    if values.min() < 0 or values.max() > 255:
        raise CallerError(f"{place}: a pixel is not in 0...255")
    return values.astype(np.uint8).reshape(side, side)


def _write(picture: NDArray[np.uint8], target: str) -> None:
    Image.fromarray(picture).save(target)
