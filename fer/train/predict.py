"""Logits of a model on a split: batched, distributed, each sample once, in the split's order."""

from collections.abc import Callable

import numpy as np
import torch

from fer.data.batches import EvalBatches
from fer.data.pixels import Source
from fer.data.sampler import batch_bounds, batch_count, share
from fer.data.test_time_views import COUNT, tta_views
from fer.evaluate.predictions import Predictions
from fer.models.classifier import Classifier
from fer.train.distributed import Session
from fer.train.features import Features

POLL = 16  # batches between two checks whether to continue
ROWS = 4096  # features in one forward pass of a head


def predict_logits(
    session: Session, model: Classifier, source: Source, batch_size: int,
    between: Callable[[], object] = lambda: None, turned: bool = False,
) -> np.ndarray:
    """Return float32 logits (N x C) on every rank, in the run's precision.

    Args:
        between: called after every `POLL` batches, by all ranks together; may raise.
        turned: average the probabilities over fixed views of each picture
            (`fer.data.augment.turns`); the logits are then log-probabilities.

    The model's mode is restored afterwards.
    """
    batches = EvalBatches(source, batch_size, session.rank, session.world)
    shares = [share(0, source.n, rank, session.world) for rank in range(session.world)]
    training = model.training
    model.eval()
    parts = [torch.zeros(0, len(model.classes), device=session.device)]
    most = max(batch_count(stop - start, batch_size) for start, stop in shares)
    try:
        for number in range(most):  # all ranks must call `between` equally often
            if number < len(batches):
                images = batches.batch(number).images
                with torch.inference_mode(), session.accelerator.autocast():
                    parts.append(_mean_of_turns(model, images) if turned else
                                 model(images).float())
            if (number + 1) % POLL == 0:
                between()
    finally:
        model.train(training)
    logits = session.gather_rows(torch.cat(parts), [stop - start for start, stop in shares])
    return logits.cpu().numpy()


def _mean_of_turns(model: Classifier, images: torch.Tensor) -> torch.Tensor:
    """Return the log of the mean probability over the fixed views, float32 (N x C)."""
    total = torch.zeros(len(images), len(model.classes), device=images.device)
    for view in tta_views(images):
        total += torch.softmax(model(view).float(), dim=1)
    return torch.log((total / COUNT).clamp_min(torch.finfo(torch.float32).tiny))


def head_logits(session: Session, model: Classifier, features: Features) -> np.ndarray:
    """Return float32 logits (N x C) from cached features, on every rank."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), session.accelerator.autocast():
            parts = [model.classify(features.take(np.arange(*batch_bounds(
                features.shape[1], ROWS, number)))) for number in range(
                    batch_count(features.shape[1], ROWS))]
    finally:
        model.train(training)
    return torch.cat(parts).cpu().numpy()


def table(source: Source, model: Classifier, logits: np.ndarray) -> Predictions:
    """Return the logits, float32 (N x C), with sample ids, identities and labels."""
    index = source.index()
    return Predictions(
        sample_ids=index["sample_id"].to_pylist(), identities=index["identity"].to_pylist(),
        labels=index["label"].to_numpy(), classes=model.classes, logits=logits)
