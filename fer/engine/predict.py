"""Logits of a model over a split: batched, distributed, each sample once, in the split's order."""

import numpy as np
import torch

from fer.data.batches import EvalBatches
from fer.data.order import share
from fer.data.source import Source
from fer.engine.session import Session
from fer.evaluate.predictions import Predictions
from fer.models.classifier import Classifier


def predict_logits(
    session: Session, model: Classifier, source: Source, batch_size: int
) -> np.ndarray:
    """Return float32 logits (N x C) on every rank, in the run's precision.

    The model's mode is restored afterwards.
    """
    batches = EvalBatches(source, batch_size, session.rank, session.world)
    shares = [share(0, source.n, rank, session.world) for rank in range(session.world)]
    training = model.training
    model.eval()
    with torch.inference_mode(), session.accelerator.autocast():
        parts = [model(batch.images).float() for batch in batches]
        nothing = torch.zeros(0, len(model.classes), device=session.device)
        logits = session.concatenate(torch.cat([nothing, *parts]),
                                     [stop - start for start, stop in shares])
    model.train(training)
    return logits.cpu().numpy()


def predict(session: Session, model: Classifier, source: Source, batch_size: int) -> Predictions:
    """Return the predictions table of a model on a source."""
    index = source.index()
    return Predictions(
        sample_ids=index["sample_id"].to_pylist(), identities=index["identity"].to_pylist(),
        labels=index["label"].to_numpy(), classes=model.classes,
        logits=predict_logits(session, model, source, batch_size))
