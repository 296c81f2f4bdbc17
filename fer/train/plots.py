"""Small pictures of numbers for TensorBoard, drawn without matplotlib: training does not wait."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fer.evaluate.calibration import Reliability

CELL = 32  # pixels of a cell of a confusion matrix
SIDE = 240  # pixels of a reliability plot
BLUE, ORANGE, GREY = (0, 114, 178), (213, 94, 0), (120, 120, 120)


def confusion_picture(matrix: NDArray[np.int64], cell: int = CELL) -> torch.Tensor:
    """Return row-normalised confusion counts (C x C) as a blue picture, uint8, 3 x H x W."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shade = np.kron(rows, np.ones((cell, cell)))
    white, blue = np.full(3, 255.0), np.array(BLUE, float)
    colours = white + shade[..., None] * (blue - white)
    return torch.from_numpy(colours.round().astype(np.uint8)).permute(2, 0, 1)


def reliability_picture(found: Reliability) -> torch.Tensor:
    """Return accuracy by confidence as bars with the diagonal, uint8, 3 x H x W.

    Blue is how often the answer is right, orange what is missing to the confidence: too sure.
    """
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen, width = ImageDraw.Draw(image), SIDE / len(found.count)
    for place in np.flatnonzero(found.count):
        left, right = place * width + 1, (place + 1) * width - 1
        height = float(found.accuracy[place]) * SIDE
        pen.rectangle((left, SIDE - height, right, SIDE), fill=BLUE)
        missing = float(found.confidence[place]) * SIDE
        if missing > height:
            pen.rectangle((left, SIDE - missing, right, SIDE - height), outline=ORANGE, width=2)
    pen.line((0, SIDE, SIDE, 0), fill=GREY)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
