"""Ray Tune's schedulers, as a search file names them."""

import math

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from fer.config.search import Scheduler


def scheduler_of(wanted: Scheduler, epochs: int) -> TrialScheduler:
    """Return what stops trials early, by their scores after epochs.

    Args:
        epochs: the most that a trial trains; nothing is stopped for having trained them.
    """
    if wanted.name == "asha":
        return ASHAScheduler("epoch", max_t=max(epochs, wanted.grace), grace_period=wanted.grace,
                             reduction_factor=wanted.reduction, stop_last_trials=False)
    if wanted.name == "median":
        return MedianStoppingRule("epoch", grace_period=wanted.grace, hard_stop=True)
    if wanted.name == "hyperband":
        return HyperBandScheduler("epoch", max_t=epochs, reduction_factor=wanted.reduction,
                                  stop_last_trials=False)
    return FIFOScheduler()


def largest_bracket(epochs: int, reduction: int) -> int:
    """Return the trials of HyperBand's largest bracket.

    So many are to be there before the first is paused: Tune takes a bracket to be whole when those
    that it has are at its rung, and would stop none.
    """
    return int(reduction ** round(math.log(epochs) / math.log(reduction)))
