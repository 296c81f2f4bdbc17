"""TensorBoard events of a run: scalars, confusion matrix and sample pictures an epoch, hparams."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fer.config.identity import scientific
from fer.config.schema import RunConfig
from fer.data.source import Source
from fer.evaluate.metrics import confusion


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
        """Write what an epoch showed on validation (labels int64 N, logits float N x C)."""
        step = facts["step"]
        for name, value in facts.items():
            if isinstance(value, float):
                kind, _, what = name.partition("_")
                self.writer.add_scalar(f"{kind}/{what}" if what else name, value, step)
        predicted = logits.argmax(1)
        matrix = confusion(labels, predicted, len(classes))
        self.writer.add_image("val/confusion", confusion_picture(matrix), step)
        wrong = np.flatnonzero(predicted != labels)[: self.sample_images]
        if len(wrong):
            pictures = val.gather(wrong).permute(0, 3, 1, 2).cpu()
            self.writer.add_images("val/wrong", pictures, step)
            named = [f"{classes[labels[i]]} taken for {classes[predicted[i]]}" for i in wrong]
            self.writer.add_text("val/wrong", "  \n".join(named), step)
        self.writer.flush()

    def close(self) -> None:
        """Write out and close."""
        self.writer.close()


def confusion_picture(matrix: np.ndarray, cell: int = 32) -> torch.Tensor:
    """Return row-normalised confusion counts (C x C) as a blue picture, uint8, 3 x H x W."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shade = np.kron(rows, np.ones((cell, cell)))
    white, blue = np.array([255.0, 255.0, 255.0]), np.array([0.0, 114.0, 178.0])
    colours = white + shade[..., None] * (blue - white)
    return torch.from_numpy(colours.round().astype(np.uint8)).permute(2, 0, 1)


def write_hparams(folder: Path, config: RunConfig, metrics: dict[str, float]) -> None:
    """Write the run's hyper-parameters with its final metrics, for TensorBoard's hparams view."""
    flat = flatten(scientific(config))
    flat.update(backbone=config.backbone.name, recipe=config.recipe.name)
    with SummaryWriter(str(folder), filename_suffix=".hparams") as writer:
        assert writer.file_writer is not None
        for summary in hparams(flat, metrics):
            writer.file_writer.add_summary(summary)
        for name, value in metrics.items():
            writer.add_scalar(name, value, 0)


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return nested keys as dotted ones, with values that TensorBoard takes."""
    flat: dict[str, bool | int | float | str] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, bool | int | float | str):
            flat[prefix + key] = value
        else:
            flat[prefix + key] = str(value)
    return flat
