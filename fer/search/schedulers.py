"""Ray Tune's schedulers, as a search file names them."""

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
