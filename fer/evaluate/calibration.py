"""Calibration of a model on its validation predictions: a temperature, and what counts as sure.

The temperature divides the logits (Guo et al. 2017, 1706.04599). A picture is "not sure" below the
lowest confidence at which the validation pictures kept have the wanted accuracy (selective
classification, Geifman & El-Yaniv 2017, 1705.08500; without their bound). Both hold for pictures
like those of validation, which no real mask need resemble.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fer.evaluate.metrics import log_probabilities
from fer.untrusted_io import record

TEMPERATURES = (0.05, 20.0)
ACCURACY = 0.9  # of the pictures that are called sure
LEAST_KEPT = 10  # validation pictures; an accuracy of fewer says nothing
NEVER = 2.0  # a threshold that no confidence reaches


@dataclass(frozen=True)
class Calibration:
    """How sure a model may be.

    Attributes:
        temperature: divides the logits.
        threshold: confidence, of the calibrated probabilities, from which a picture is sure.
        accuracy: wanted of the validation pictures from `threshold` on.
        n: validation pictures.
        split: where they come from, such as `lfw+mlfw/val`.
    """

    temperature: float
    threshold: float
    accuracy: float
    n: int
    split: str

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities of logits: float64, N x C."""
        return np.asarray(np.exp(log_probabilities(np.asarray(logits) / self.temperature)))

    def to_json(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibration":
        """Return the calibration of `to_json`; raise a `ValueError` if damaged."""
        found = record(cls, values)
        if found.temperature <= 0:
            raise ValueError(f"a temperature of {found.temperature}")
        return found

    def __str__(self) -> str:
        share = f"{self.accuracy:.0%}"
        sure = (f"sure from a confidence of {self.threshold:.3f}, where {share} of them are right"
                if self.threshold < NEVER else
                f"never sure, because no confidence makes {share} of them right")
        return (f"calibrated on {self.n:,} pictures of {self.split}: temperature "
                f"{self.temperature:.3f}, {sure}")


def calibrate(labels: np.ndarray, logits: np.ndarray, split: str, accuracy: float = ACCURACY
              ) -> Calibration:
    """Return the calibration on validation predictions.

    Args:
        labels: integers, N. logits: float, N x C.
        split: for the record.
        accuracy: wanted of the pictures that are called sure.
    """
    temperature = best_temperature(labels, logits)
    probabilities = np.exp(log_probabilities(np.asarray(logits) / temperature))
    threshold = sure_from(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels,
                          accuracy)
    return Calibration(temperature, threshold, accuracy, len(labels), split)


def sure_from(confidence: np.ndarray, right: np.ndarray, accuracy: float) -> float:
    """Return the lowest confidence from which on a share of at least `accuracy` is right.

    Args:
        confidence: float, N. right: bool, N.

    Returns:
        one of the confidences; `NEVER` if fewer than `LEAST_KEPT` pictures would be kept.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(ordered[1:] < ordered[:-1], True)[: len(order)]
    enough = np.arange(1, len(order) + 1) >= LEAST_KEPT
    found = np.flatnonzero((share >= accuracy) & last_of_equals & enough)
    return float(ordered[found[-1]]) if found.size else NEVER


def best_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the T that minimises the mean NLL of softmax(logits / T).

    Args:
        labels: integers, N.
        logits: float, N x C.
    """
    from scipy.optimize import minimize_scalar  # slow to import, rarely needed

    def nll(log: float) -> float:
        scaled = log_probabilities(logits / np.exp(log))
        return float(-scaled[np.arange(len(labels)), labels].mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(nll, bounds=(low, high), method="bounded").x))
