"""Effective robustness: the score on real masks beyond the prediction from the synthetic score.

Over models, performance under a shift follows a line on probit axes (Miller et al. 2021,
2107.04649). Models that close the gap lie above the line; better models lie further along it. The
line is fitted to baselines only: methods that close the gap would bend it towards themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.evaluate.intervals import LEVEL

LEAST_BASELINES = 5  # three degrees of freedom
EDGE = 1e-3  # scores are kept off 0 and 1, which have no probit


@dataclass(frozen=True)
class Line:
    """The line on probit axes: probit(real) = intercept + slope x probit(synthetic).

    Attributes:
        configs: the number of baselines that it is fitted to.
        low, high: 95 % limits of the slope over the baselines, from least squares.
        r2: explained fraction of the variance of probit(real) over the baselines.
        error: standard deviation of the residuals, in probits.
        mean, spread: mean and sum of squares of probit(synthetic) over the baselines.
    """

    intercept: float
    slope: float
    configs: int
    low: float
    high: float
    r2: float
    error: float
    mean: float
    spread: float

    def real(self, synthetic: float, side: int = 0) -> float:
        """Return the real score that the line predicts, or its 95 % prediction limit.

        Args:
            side: 0 for the line, 1 and -1 for the upper and the lower limit of one more model.
        """
        from scipy.special import ndtr, stdtrit

        x = float(probit(np.array(synthetic)))
        wide = self.error * (1 + 1 / self.configs + (x - self.mean) ** 2 / self.spread) ** 0.5
        reach = side * float(stdtrit(self.configs - 2, (1 + LEVEL) / 2)) * wide
        return float(ndtr(self.intercept + self.slope * x + reach))


def probit(scores: np.ndarray) -> np.ndarray:
    """Return the normal quantiles of scores in 0…1."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(scores, EDGE, 1 - EDGE)))


def fit_line(baselines: Sequence[tuple[float, float]]) -> Line | None:
    """Return the least-squares line through synthetic and real scores of the baselines.

    None with too few baselines or an undefined slope.
    """
    if len(baselines) < LEAST_BASELINES:
        return None
    x, y = probit(np.array(baselines, float)).T
    apart = x - x.mean()
    spread = float(apart @ apart)
    if spread < 1e-12:
        return None
    from scipy.special import stdtrit

    slope = float(apart @ y) / spread
    residuals = y - y.mean() - slope * apart
    free, total = len(x) - 2, float(((y - y.mean()) ** 2).sum())
    error = float((residuals @ residuals / free) ** 0.5)
    reach = float(stdtrit(free, (1 + LEVEL) / 2)) * error / spread ** 0.5
    return Line(float(y.mean() - slope * x.mean()), slope, len(x), slope - reach, slope + reach,
                1 - float(residuals @ residuals) / total if total > 0 else 1.0, error,
                float(x.mean()), spread)
