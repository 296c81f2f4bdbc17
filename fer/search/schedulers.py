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
    """Ray's, but for a mark that it sets when it first halves a bracket and never takes back.

    With it a trial that ends between two rungs, as one that fails, is no reason to look whether
    those that wait for it may go on, and they would wait for ever.
    """

    def _process_bracket(self, tune_controller: Any, bracket: Any) -> str:
        before = bracket.is_being_processed
        try:
            return str(super()._process_bracket(tune_controller, bracket))
        finally:
            bracket.is_being_processed = before


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
        return _HyperBand("epoch", max_t=epochs, reduction_factor=wanted.reduction,
                          stop_last_trials=False)
    return FIFOScheduler()


def largest_bracket(epochs: int, reduction: int) -> int:
    """Return the trials of HyperBand's largest bracket, as Ray makes them.

    So many are to be there before the first is paused: Tune takes a bracket to be whole when those
    that it has are at its rung, and would stop none.
    """
    kinds = round(math.log(epochs) / math.log(reduction)) + 1
    return max(math.ceil(kinds / (s + 1) * reduction**s) for s in range(kinds)
               if int(epochs * reduction**-s) > 0)
