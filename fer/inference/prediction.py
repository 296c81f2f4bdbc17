"""What a model says about one picture, and as a row of a table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.plain_text import printable

NOT_SURE = "not sure"


@dataclass(frozen=True)
class Prediction:
    """The answer of a model, or of an ensemble, for one picture.

    Attributes:
        file: the picture.
        classes: C names.
        probabilities: class -> softmax of the logits, as `launch/evaluate.py` has them; the mean
            over the models of an ensemble. Empty if the picture is unusable.
        calibrated: class -> probability after temperature scaling; empty if not calibrated.
        sure: whether the confidence reaches the threshold; None if there is none.
        reason: why the picture is unusable; empty if it is usable.
    """

    file: str
    classes: tuple[str, ...]
    probabilities: dict[str, float]
    calibrated: dict[str, float]
    sure: bool | None = None
    reason: str = ""

    @property
    def label(self) -> str:
        """The most probable class; empty if the picture is unusable."""
        best = self.probabilities
        return max(best, key=best.__getitem__) if best else ""

    @property
    def answer(self) -> str:
        """The most probable class, or `not sure`; empty if the picture is unusable."""
        return NOT_SURE if self.sure is False else self.label

    @property
    def confidence(self) -> float | None:
        """The probability of `label`, calibrated if possible."""
        return (self.calibrated or self.probabilities).get(self.label)

    def row(self) -> dict[str, str | float | None]:
        """Return the values of all `columns`; numbers are None where there are none."""
        kinds = {"probability": self.probabilities, "calibrated": self.calibrated}
        return {"file": printable(self.file), "answer": self.answer, "label": self.label,
                "confidence": self.confidence, "reason": self.reason,
                **{f"{kind}_{name}": values.get(name) for kind, values in kinds.items()
                   for name in self.classes}}


def columns(classes: tuple[str, ...], calibrated: bool) -> list[str]:
    """Return the columns of a table of predictions."""
    kinds = ("probability", "calibrated") if calibrated else ("probability",)
    return ["file", "answer", "label", "confidence", "reason",
            *(f"{kind}_{name}" for kind in kinds for name in classes)]


def by_class(classes: tuple[str, ...], row: NDArray[np.float64]) -> dict[str, float]:
    """Return numbers by class."""
    return dict(zip(classes, row.tolist(), strict=True))
