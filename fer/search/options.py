"""The options of `launch/tune.py`, and the resources that one trial gets of Ray and of the budget.

Options reach the job of a search as JSON.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fer.search.trial_record import Entry


@dataclass(frozen=True)
class TuneOptions:
    """A search to be done.

    Attributes:
        resume: only go on with a search that has begun.
        retry: try failed trials again.
        slots: trials at a time; 0 for as many as fit.
    """

    file: str
    overrides: tuple[str, ...] = ()
    resume: bool = False
    retry: bool = False
    slots: int = 0


@dataclass(frozen=True)
class TrialSlots:
    """What one trial gets.

    Attributes:
        cpus, gpus: of Ray; a part of a GPU is allowed.
        most: how many trials run at a time; 0: what fits.
        counted: GPUs that a trial's hours count for in the budget: without any, the machine is one.
    """

    cpus: float
    gpus: float
    most: int = 0
    counted: float = 1.0

    def gpu_hours(self, entries: Iterable[Entry]) -> float:
        """Return what trials have used."""
        return sum(entry.seconds for entry in entries) / 3600 * self.counted
