"""Scores of a trial whose run is trained on each fold of people in turn (`train.folds`).

After an epoch the score is the mean over the folds trained so far, so that a scheduler can stop a
weak trial on the first folds; after the last one it is that of the pooled out-of-fold predictions.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from fer.evaluate.metrics import validation_scores
from fer.search.scores import Score
from fer.study.folds import pooled_predictions
from fer.study.run_folder import RunFolder


class FoldScores:
    """The scores of the folds of one trial, in order.

    Attributes:
        current: of the fold that is being trained.
        ended: of the folds before.
        epochs: of the folds before, together.
    """

    def __init__(self, metric: str, select: str, in_phase: bool) -> None:
        self._rule = metric, select, in_phase
        self.current, self.ended, self.epochs = Score(*self._rule), list[float](), 0

    @property
    def fold(self) -> int:
        """Number of the fold that is being trained, from 0."""
        return len(self.ended)

    def after(self, facts: Mapping[str, Any]) -> float:
        """Update with an epoch's line and return the score of the trial."""
        return mean([*self.ended, self.current.after(facts)])

    def next_fold(self, epochs: int, worst: float) -> None:
        """Begin the next fold after `epochs` epochs of all folds; `worst` stands for no epoch."""
        value = self.current.value
        self.ended.append(worst if value is None else value)
        self.current, self.epochs = Score(*self._rule), epochs

    def to_json(self) -> dict[str, Any]:
        """Return the values for JSON."""
        return {"value": self.current.value, "best": self.current.best,
                "phase": self.current.phase, "ended": self.ended, "before": self.epochs}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Continue from the values of `to_json`."""
        self.current.value, self.current.best = values["value"], values["best"]
        self.current.phase = values.get("phase", "")
        self.ended, self.epochs = list(values.get("ended", [])), values.get("before", 0)


def pooled_score(folders: Sequence[Path], metric: str) -> float:
    """Return a metric of the pooled out-of-fold predictions of runs on all folds.

    Raises:
        OSError, ValueError: predictions are missing or damaged, or of the same pictures.
    """
    table = pooled_predictions([RunFolder(folder) for folder in folders])
    return validation_scores(table.labels, table.logits)[metric]
