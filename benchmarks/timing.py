"""Paired timing of two alternatives: alternating, several times, one ratio per pair."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True)
class Comparison:
    """The time of ours relative to that of a peer.

    Attributes:
        name: what is measured. ours, theirs: medians in `unit`; None without a peer.
        ratio: median over the rounds of ours / theirs, or of ours in seconds without a peer; low
            and high are the extremes.
        target: the project's bound on the ratio; None if it is only reported.
        better: `below` or `above`, the side of the target on which the ratio should be.
    """

    name: str
    ours: float
    theirs: float | None
    unit: str
    ratio: float
    low: float
    high: float
    target: float | None
    better: str = "below"

    @property
    def met(self) -> bool:
        """Whether the median is on the right side of the target."""
        if self.target is None:
            return True
        return self.ratio <= self.target if self.better == "below" else self.ratio >= self.target


def seconds(action: Callable[[], object]) -> float:
    """Return the duration of `action`."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def side_by_side(name: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int,
                 target: float | None) -> Comparison:
    """Time both alternately after one warm-up of each; in every other round theirs goes first."""
    seconds(ours), seconds(theirs)
    pairs = []
    for number in range(rounds):
        if number % 2:
            peer, own = seconds(theirs), seconds(ours)
        else:
            own, peer = seconds(ours), seconds(theirs)
        pairs.append((own, peer))
    ratios = sorted(own / peer for own, peer in pairs)
    return Comparison(name, statistics.median(own for own, _ in pairs) * 1e3,
                      statistics.median(peer for _, peer in pairs) * 1e3, "ms",
                      statistics.median(ratios), ratios[0], ratios[-1], target)
