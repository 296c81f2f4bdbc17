"""Whether a model's confidence can be taken at its word: reliability and calibration error."""

from dataclasses import dataclass

import numpy as np

CALIBRATION_BINS = 15  # equal-width, as in Guo et al. 2017 (1706.04599)


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy of the top class, in equal-width bins (lo, hi].

    Attributes:
        confidence: float64, B; mean in the bin, NaN where the bin is empty.
        accuracy: float64, B.
        count: int64, B; pictures in the bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance, weighted by the bins' pictures."""
        apart = np.abs(np.nan_to_num(self.confidence - self.accuracy))
        return float((apart * self.count).sum() / self.count.sum())


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> Reliability:
    """Return the reliability of predictions: labels (N,), probabilities (N x C)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
    count = np.bincount(bins, minlength=CALIBRATION_BINS)
    with np.errstate(invalid="ignore"):
        return Reliability(np.bincount(bins, confidence, CALIBRATION_BINS) / count,
                           np.bincount(bins, correct, CALIBRATION_BINS) / count, count)
