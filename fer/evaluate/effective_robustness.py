"""Effective robustness: the score on real masks beyond the prediction from the synthetic score.

Over models, performance under a shift follows a line on probit axes (Miller et al. 2021,
2107.04649). Models that close the gap lie above the line; better models lie further along it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.evaluate.bootstrap import Draws
from fer.evaluate.intervals import LEVEL, Interval, interval_of

LEAST_CONFIGS = 4  # a line through three points leaves one degree of freedom
EDGE = 1e-3  # scores are kept off 0 and 1, which have no probit
METRIC = "effective_robustness"


@dataclass(frozen=True)
class Line:
    """The line on probit axes: probit(real) = intercept + slope x probit(synthetic).

    Attributes:
        low, high: 95 % limits of the slope over configurations, from least squares.
        r2: explained fraction of the variance of probit(real) over configurations.
    """

    intercept: float
    slope: float
    configs: int
    low: float
    high: float
    r2: float

    def real(self, synthetic: np.ndarray) -> np.ndarray:
        """Return the real scores that the line predicts from synthetic scores."""
        from scipy.special import ndtr

        return np.asarray(ndtr(self.intercept + self.slope * probit(synthetic)))


def probit(scores: np.ndarray) -> np.ndarray:
    """Return the normal quantiles of scores in 0…1."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(scores, EDGE, 1 - EDGE)))


def fit_line(synthetic: np.ndarray, real: np.ndarray) -> Line | None:
    """Return the least-squares line through configurations (K,).

    None with too few configurations or an undefined slope.
    """
    intercept, slope = _fit(np.asarray(synthetic)[None], np.asarray(real)[None])
    if len(synthetic) < LEAST_CONFIGS or not np.isfinite(slope[0]):
        return None
    from scipy.stats import linregress, t

    fit = linregress(probit(np.asarray(synthetic)), probit(np.asarray(real)))
    apart = float(t.ppf((1 + LEVEL) / 2, len(synthetic) - 2) * fit.stderr)
    return Line(float(intercept[0]), float(slope[0]), len(synthetic),
                float(slope[0]) - apart, float(slope[0]) + apart, float(fit.rvalue ** 2))


def effective_robustness(synthetic: Sequence[Draws], real: Sequence[Draws],
                         metric: str = "uar") -> tuple[Line, list[Interval]] | None:
    """Return the line and each configuration's distance above it, as a fraction with its interval.

    The line is fitted again in every resample of people, so the intervals include its uncertainty.
    None with fewer than four configurations, or if all have the same synthetic score.
    """
    pairs = [_common(*pair) for pair in zip(synthetic, real, strict=True)]
    means = np.array([[one.observed[metric][at].mean() for one, at in pair] for pair in pairs])
    line = fit_line(means[:, 0], means[:, 1]) if len(means) else None
    if line is None or not np.isfinite(means).all():
        return None
    drawn = [np.stack([one.resampled[metric][:, at].mean(1) for one, at in side], axis=1)
             for side in zip(*pairs, strict=True)]
    intercepts, slopes = _fit(*(side.astype(np.float64) for side in drawn))
    return line, [_above(pair, metric, line, intercepts, slopes) for pair in pairs]


Side = tuple[Draws, list[int]]  # resamples, and the columns of the common seeds


def _common(left: Draws, right: Draws) -> tuple[Side, Side]:
    seeds = [seed for seed in left.seeds if seed in right.seeds]
    return ((left, [left.seeds.index(seed) for seed in seeds]),
            (right, [right.seeds.index(seed) for seed in seeds]))


def _above(pair: tuple[Side, Side], metric: str, line: Line, intercepts: np.ndarray,
           slopes: np.ndarray) -> Interval:
    """Return real minus predicted score of one configuration, over seeds."""
    from scipy.special import ndtr

    (synthetic, at), (real, to) = pair
    expected = ndtr(intercepts[:, None]
                    + slopes[:, None] * probit(synthetic.resampled[metric][:, at]))
    residuals = Draws(
        observed={METRIC: real.observed[metric][to] - line.real(synthetic.observed[metric][at])},
        resampled={METRIC: (real.resampled[metric][:, to] - expected).astype(np.float32)},
        effective={METRIC: min(synthetic.effective[metric], real.effective[metric])},
        seeds=tuple(real.seeds[place] for place in to), n=synthetic.n + real.n,
        people=synthetic.people + real.people, crowds=synthetic.crowds + real.crowds, least=-1.0)
    return interval_of(residuals, METRIC)


def _fit(synthetic: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and slopes (R,) of the lines through R x K scores."""
    x, y = probit(synthetic), probit(real)
    apart = x - x.mean(1, keepdims=True)
    spread = (apart ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slopes = np.where(spread > 1e-12, (apart * y).sum(1) / spread, np.nan)
    return y.mean(1) - slopes * x.mean(1), slopes
