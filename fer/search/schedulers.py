"""Ray Tune's schedulers, as a search file names them."""

import math
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from fer.config.search import Scheduler


class _HyperBand(HyperBandScheduler):
    """Ray's HyperBand, except that its `is_being_processed` flag is reset after each halving.

    Otherwise the end of a trial between two rungs, such as a failure, would not trigger a check of
    the trials that wait for it, and they would wait forever.
    """

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        before = bracket.is_being_processed
        try:
            return str(super()._process_bracket(tune_controller, bracket))
        finally:
            bracket.is_being_processed = before


def scheduler_of(wanted: Scheduler, epochs: int) -> TrialScheduler:
    """Return the scheduler that stops trials early, by their scores after epochs.

    Args:
        epochs: maximum number of epochs of a trial; reaching it does not count as stopped.
    """
    if wanted.name == "asha":
        return ASHAScheduler("epoch", max_t=max(epochs, wanted.grace), grace_period=wanted.grace,
                             reduction_factor=wanted.reduction, stop_last_trials=False)
    if wanted.name == "median":
        return MedianStoppingRule("epoch", grace_period=wanted.grace, hard_stop=True)
    if wanted.name == "hyperband":
        return _HyperBand("epoch", max_t=epochs, reduction_factor=wanted.reduction,
                          stop_last_trials=False)
    return FIFOScheduler()


def largest_bracket(epochs: int, reduction: int) -> int:
    """Return the number of trials in HyperBand's largest bracket, as Ray computes it.

    So many must exist before the first is paused: Tune treats a bracket as complete once the trials
    it has are at its rung, and would stop none.
    """
    kinds = round(math.log(epochs) / math.log(reduction)) + 1
    return max(math.ceil(kinds / (s + 1) * reduction**s) for s in range(kinds)
               if int(epochs * reduction**-s) > 0)
