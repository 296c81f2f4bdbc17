"""The options of `launch/tune.py`, and the resources of one trial in Ray and in the budget.

Options are passed to the job of a search as JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fer.search.trial_record import Entry


@dataclass(frozen=True)
class TuneOptions:
    """Options of a search.

    Attributes:
        resume: only resume an existing search.
        retry: retry failed trials.
        slots: concurrent trials; 0 for as many as fit.
    """

    file: str
    overrides: tuple[str, ...] = ()
    resume: bool = False
    retry: bool = False
    slots: int = 0


@dataclass(frozen=True)
class TrialSlots:
    """Resources of one trial.

    Attributes:
        cpus, gpus: resources in Ray; a fraction of a GPU is allowed.
        most: maximum number of concurrent trials; 0 for as many as fit.
        counted: GPUs per trial in the budget; 1 on a machine without GPUs.
    """

    cpus: float
    gpus: float
    most: int = 0
    counted: float = 1.0

    def gpu_hours(self, entries: Iterable[Entry]) -> float:
        """Return the GPU-hours used by trials."""
        return sum(entry.seconds for entry in entries) / 3600 * self.counted
