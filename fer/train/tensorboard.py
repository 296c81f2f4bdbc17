"""TensorBoard events of a run.

Scalars, confusion matrix, reliability and pictures per epoch; at the end the same for every test
set, and hparams with the metrics on all of them. Drawn without matplotlib, which is too slow for
the training loop.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fer.config.run import RunConfig
from fer.config.run_id import scientific
from fer.data.pixels import Source
from fer.evaluate.metrics import Reliability, confusion, log_probabilities, reliability
from fer.evaluate.predictions import Predictions
from fer.untrusted_io import read_json

HPARAMS = ".hparams"  # suffix of the event file's name
CELL = 32  # pixels of a cell of a confusion matrix
SIDE = 240  # pixels of a reliability plot
BLUE, ORANGE, GREY = (0, 114, 178), (213, 94, 0), (120, 120, 120)


class Events:
    """The event file of a run; events after `step` of an earlier attempt are purged."""

    def __init__(self, folder: Path, step: int, sample_images: int) -> None:
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        self.sample_images = sample_images

    def epoch(
        self,
        facts: dict[str, Any],
        labels: np.ndarray,
        logits: np.ndarray,
        classes: tuple[str, ...],
        val: Source,
    ) -> None:
        """Write an epoch's validation results (labels int64 N, logits float N x C)."""
        step = facts["step"]
        for name, value in facts.items():
            if isinstance(value, float):
                kind, _, what = name.partition("_")
                self.writer.add_scalar(f"{kind}/{what}" if what else name, value, step)
        show(self.writer, "val", labels, logits, classes, val, self.sample_images, step)
        self.writer.flush()

    def samples(self, images: torch.Tensor) -> None:
        """Write the first training images as the network sees them (N x 3 x H x W)."""
        if self.sample_images:
            self.writer.add_images("train/samples", images[: self.sample_images].cpu(), 0)

    def close(self) -> None:
        """Flush and close the event file."""
        self.writer.close()


def show(writer: SummaryWriter, name: str, labels: np.ndarray, logits: np.ndarray,
         classes: tuple[str, ...], pictures: Source, most: int, step: int) -> None:
    """Write the confusion matrix, the reliability plot and the first misclassified pictures."""
    predicted = logits.argmax(1)
    writer.add_image(f"{name}/confusion", confusion_picture(
        confusion(labels, predicted, len(classes))), step)
    found = reliability(labels, np.exp(log_probabilities(logits)))
    writer.add_image(f"{name}/reliability", reliability_picture(found), step)
    wrong = np.flatnonzero(predicted != labels)[:most]
    if len(wrong):
        writer.add_images(f"{name}/wrong", pictures.gather(wrong).permute(0, 3, 1, 2).cpu(), step)
        named = [f"{classes[labels[i]]}, predicted as {classes[predicted[i]]}" for i in wrong]
        writer.add_text(f"{name}/wrong", "  \n".join(named), step)


def write_final(folder: Path, config: RunConfig,
                shown: Mapping[str, tuple[Predictions, Source]]) -> None:
    """Write the final events of a run: plots of the splits just evaluated, and hparams.

    The hyper-parameters are written with the metrics on all test sets that the run was ever
    evaluated on; they replace those of an earlier evaluation.
    """
    for old in (folder / "tb").glob(f"*{HPARAMS}"):
        old.unlink()
    flat = flatten(scientific(config))
    flat.update(backbone=config.backbone.name, recipe=config.recipe.name)
    metrics = final_metrics(folder / "results")
    with SummaryWriter(str(folder / "tb"), filename_suffix=HPARAMS) as writer:
        assert writer.file_writer is not None
        for summary in hparams(flat, metrics):
            writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)
    if shown:
        with SummaryWriter(str(folder / "tb"), filename_suffix=".tests") as writer:
            for split, (found, pictures) in shown.items():
                show(writer, split, found.labels, found.logits, found.classes, pictures,
                     config.keep.sample_images, 0)


def final_metrics(results: Path) -> dict[str, float]:
    """Return `split/metric` -> value of all results in a folder, without test-time variants."""
    found: dict[str, float] = {}
    for path in sorted(results.glob("*/*.json")):
        if "@" in path.stem:
            continue
        try:
            content = read_json(path)
            found |= {f"{path.parent.name}/{path.stem}/{name}": float(content[name])
                      for name in ("uar", "accuracy", "macro_f1")}
        except (ValueError, KeyError, TypeError):  # damaged; reported by the report
            continue
    return found


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return a nested mapping with dotted keys and values that TensorBoard accepts."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, bool | int | float | str):
            flat[prefix + key] = value
        else:
            flat[prefix + key] = str(value)
    return flat


def confusion_picture(matrix: NDArray[np.int64], cell: int = CELL) -> torch.Tensor:
    """Return row-normalised confusion counts (C x C) as an image in blues, uint8, 3 x H x W."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shade = np.kron(rows, np.ones((cell, cell)))
    white, blue = np.full(3, 255.0), np.array(BLUE, float)
    colours = white + shade[..., None] * (blue - white)
    return torch.from_numpy(colours.round().astype(np.uint8)).permute(2, 0, 1)


def reliability_picture(found: Reliability) -> torch.Tensor:
    """Return a reliability diagram, uint8, 3 x H x W.

    Blue bars show the accuracy per confidence bin, orange the gap to the confidence where the model
    is overconfident.
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
