"""Logits of a model over a split: batched, distributed, each sample once, in the split's order."""

from collections.abc import Callable

import numpy as np
import torch

from fer.data.batches import EvalBatches
from fer.data.order import batch_count, share
from fer.data.source import Source
from fer.engine.session import Session
from fer.evaluate.predictions import Predictions
from fer.models.classifier import Classifier

POLL = 16  # batches between two questions whether to go on


def predict_logits(
    session: Session, model: Classifier, source: Source, batch_size: int,
    between: Callable[[], object] = lambda: None,
) -> np.ndarray:
    """Return float32 logits (N x C) on every rank, in the run's precision.

    Args:
        between: called after every `POLL` batches, by all ranks together; may raise.

    The model's mode is restored afterwards.
    """
    batches = EvalBatches(source, batch_size, session.rank, session.world)
    shares = [share(0, source.n, rank, session.world) for rank in range(session.world)]
    training = model.training
    model.eval()
    parts = [torch.zeros(0, len(model.classes), device=session.device)]
    most = max(batch_count(stop - start, batch_size) for start, stop in shares)
    try:
        for number in range(most):  # a rank with fewer batches asks as often as the others
            if number < len(batches):
                with torch.inference_mode(), session.accelerator.autocast():
                    parts.append(model(batches.batch(number).images).float())
            if (number + 1) % POLL == 0:
                between()
    finally:
        model.train(training)
    logits = session.concatenate(torch.cat(parts), [stop - start for start, stop in shares])
    return logits.cpu().numpy()


def predict(session: Session, model: Classifier, source: Source, batch_size: int,
            between: Callable[[], object] = lambda: None) -> Predictions:
    """Return the predictions table of a model on a source; `between` as for `predict_logits`."""
    index = source.index()
    return Predictions(
        sample_ids=index["sample_id"].to_pylist(), identities=index["identity"].to_pylist(),
        labels=index["label"].to_numpy(), classes=model.classes,
        logits=predict_logits(session, model, source, batch_size, between))
