"""Recomputation of batch-norm statistics on training data, for averaged weights."""

from collections.abc import Callable

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from fer.data.batches import TrainBatches
from fer.models.classifier import Classifier
from fer.train.distributed import Session, average_batch_norm

MOST_BATCHES = 200


def update_batch_norm(model: Classifier, batches: TrainBatches, session: Session,
                      between: Callable[[], object] = lambda: None) -> None:
    """Set the statistics of every trainable batch-norm layer to their mean over batches.

    Uses at most `MOST_BATCHES` batches of the first epoch, independent of the number of ranks. The
    model's mode is restored.

    Args:
        between: called after every batch, by all ranks together; may raise.
    """
    training = model.training
    model.train()  # frozen layers stay in eval mode and keep their statistics
    norms = [layer for layer in model.batch_norms()
             if isinstance(layer, _BatchNorm) and layer.training]
    before = [layer.momentum for layer in norms]
    model.eval()
    if not norms:
        model.train(training)
        return
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
        layer.training = True
    try:
        for step in range(min(batches.steps_per_epoch, MOST_BATCHES)):
            batch = batches.batch(0, step)
            with torch.no_grad(), session.accelerator.autocast():
                if len(batch):
                    model(batch.images)
            between()
    finally:
        for layer, momentum in zip(norms, before, strict=True):
            layer.momentum = momentum
        model.train(training)
    average_batch_norm(model, session)
