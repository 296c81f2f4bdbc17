"""How many test pictures it would take to tell two models apart."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from fer.evaluate.bootstrap import SEEDS_NEEDED, Draws, difference
from fer.evaluate.intervals import LEVEL, interaction

POWER = 0.8  # the usual chance to find a difference that is there (Cohen 1988)


@dataclass(frozen=True)
class Power:
    """What telling two models apart would take, if the difference is as large as it looks.

    Attributes:
        difference: of the means over seeds, as a fraction.
        n: pictures there are.
        needed: pictures for 80 % power at 5 %; None where no number is enough because seeds
            differ too much, or where there is no difference at all.
        seeds: whether the spread of seeds is in it (five or more of them).
    """

    difference: float
    n: int
    needed: int | None
    seeds: bool


def pictures_needed(left: Draws, right: Draws, metric: str = "uar") -> Power | None:
    """Return how many pictures like those of the test set would be needed; None if undefined.

    Test sampling shrinks with the pictures, the spread of seeds only with more seeds. Normal
    approximation: |d| >= (z_0.975 + z_0.8) sqrt(v n / needed + seeds' variance).
    """
    from scipy.stats import norm

    apart = difference(left, right)
    observed = apart.observed[metric]
    resampled = apart.resampled[metric].astype(np.float64)
    resampled = resampled[np.isfinite(resampled).all(axis=1)]
    value = float(observed.mean())
    if not np.isfinite(value) or len(resampled) < 2 or apart.effective[metric] < 2:
        return None
    enough = len(observed) >= SEEDS_NEEDED
    seeds = 0.0
    if enough:  # what more pictures do not take away
        own = float(observed.var(ddof=1)) - interaction(observed, resampled)
        seeds = max(0.0, own) / len(observed)
    reach = float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER))
    left_over = (value / reach) ** 2 - seeds
    sampling = float(resampled.mean(axis=1).var())
    needed = ceil(apart.n[0] * sampling / left_over) if left_over > 0 else None
    return Power(value, apart.n[0], needed, enough)
