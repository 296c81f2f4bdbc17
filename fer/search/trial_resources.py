"""What one trial gets of Ray's resources, and of the budget."""

from collections.abc import Iterable
from dataclasses import dataclass

from fer.search.trial_record import Entry


@dataclass(frozen=True)
class Slots:
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
