"""Metrics of one table of predictions, without intervals; reliability and calibration error.

Intervals are in `fer.evaluate.intervals`. A class that is absent from the labels has no recall;
unweighted average recall (UAR) and macro-F1 are means over the classes present.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer.atomic_io import write_json

RESULT_SCHEMA = 1
CALIBRATION_BINS = 15  # equal-width, as in Guo et al. 2017 (1706.04599)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts, int64, C x C: rows are the true classes, columns the predicted ones."""
    cells = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def scores(tables: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy, uar, macro_f1 (...) and recall (... x C) of confusion counts (... x C x C).

    float64; NaN where undefined. Recall of class c is n_cc / n_c.; F1 is
    2 n_cc / (n_c. + n_.c); both means go over the classes with n_c. > 0.
    """
    tables = np.asarray(tables, np.float64)
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    support, predicted = tables.sum(-1), tables.sum(-2)
    present = support > 0
    count = present.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(present, hits / support, np.nan)
        f1 = np.where(present, 2 * hits / (support + predicted), 0.0)
        return {
            "accuracy": hits.sum(-1) / support.sum(-1),
            "uar": mean_recall(recall),
            "macro_f1": f1.sum(-1) / count,
            "recall": recall,
        }


def mean_recall(recall: np.ndarray) -> np.ndarray:
    """Return the UAR (...) of recalls (... x C): the mean over the classes present."""
    present = np.isfinite(recall)
    return np.asarray(np.where(present, recall, 0.0).sum(-1) / present.sum(-1))


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return log-softmax, float64, N x C."""
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def validation_scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Return accuracy, uar, macro_f1 and loss (mean cross-entropy, nats) for selection.

    Fast (NumPy only, no scikit-learn import) and deterministic: it selects the best checkpoint, so
    it must be bitwise reproducible in a resumed run.

    Args:
        labels: integers, N.
        logits: float, N x C; a NaN gives a NaN loss.
    """
    labels, logits = np.asarray(labels, np.int64), np.asarray(logits)
    if not len(labels):
        raise ValueError("no samples to score")
    table = confusion(labels, np.argmax(logits, axis=1), logits.shape[1])
    found = scores(table)
    loss = -log_probabilities(logits)[np.arange(len(labels)), labels].mean()
    return {name: float(found[name]) for name in ("accuracy", "uar", "macro_f1")} | {
        "loss": float(loss)}


def measure(labels: np.ndarray, logits: np.ndarray, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return all metrics of one table of predictions, ready for JSON.

    Args:
        labels: integers, N; index into `classes`.
        logits: float, N x C, finite.
        classes: C names.

    Returns:
        n, accuracy, macro_f1, uar, nll (nats), ece (15 bins), brier (0..2, summed over the
        classes), auroc (mean over the classes, each against the rest; None where undefined),
        recall, precision, support (one a class, by name; None where undefined), confusion (rows
        true), classes, and `note` where a class is absent.
    """
    from sklearn.metrics import brier_score_loss, log_loss, precision_score  # takes 1 s to import

    labels, logits = np.asarray(labels, np.int64), np.asarray(logits)
    if not len(labels):
        raise ValueError("no samples to measure")
    logs = log_probabilities(logits)
    if not np.isfinite(logs).all():
        raise ValueError("logits are not finite")
    width = len(classes)
    probabilities, predicted = np.exp(logs), np.argmax(logits, axis=1)
    table = confusion(labels, predicted, width)
    found, support = scores(table), table.sum(1)
    names = list(range(width))
    precision = precision_score(labels, predicted, labels=names, average=None, zero_division=np.nan)
    result: dict[str, Any] = {
        "n": len(labels),
        **{name: float(found[name]) for name in ("accuracy", "macro_f1", "uar")},
        "nll": float(log_loss(labels, probabilities, labels=names)),
        "ece": reliability(labels, probabilities).error,
        "brier": float(brier_score_loss(labels, probabilities, labels=names,
                                        scale_by_half=False)),
        "auroc": auroc(labels, probabilities),
        "recall": _by_class(classes, found["recall"]),
        "precision": _by_class(classes, precision),
        "support": {name: int(count) for name, count in zip(classes, support, strict=True)},
        "confusion": table.tolist(),
        "classes": list(classes),
    }
    absent = [name for name, count in zip(classes, support, strict=True) if not count]
    if absent:
        result["note"] = (f"no sample of class {', '.join(absent)}: "
                          "UAR and macro-F1 are over the other classes")
    return result


def soft_scores(labels: np.ndarray, logits: np.ndarray) -> dict[str, float | None]:
    """Return nll, brier, ece and auroc as `measure` does, in a hundredth of the time.

    Meant for the subgroups of many runs. AUROC is computed from Mann-Whitney ranks.

    Args:
        labels: integers, N. logits: float, N x C, finite.
    """
    from scipy.stats import rankdata

    probabilities = np.exp(log_probabilities(logits))
    true = np.eye(logits.shape[1], dtype=bool)[labels]
    positive = true.sum(axis=0).astype(np.float64)
    areas = None
    if len(present := np.flatnonzero(positive)) > 1:
        ranks = np.where(true, rankdata(probabilities, axis=0), 0.0).sum(axis=0)[present]
        own = positive[present]
        areas = float(((ranks / own - (own + 1) / 2) / (len(labels) - own)).mean())
    return {"nll": mean_nll(labels, logits),
            "brier": float(((probabilities - true) ** 2).sum(axis=1).mean()),
            "ece": reliability(labels, probabilities).error, "auroc": areas}


def mean_nll(labels: np.ndarray, logits: np.ndarray) -> float:
    """Return the mean negative log-likelihood in nats, with the floor of scikit-learn.

    Args:
        labels: integers, N. logits: float, N x C, finite.
    """
    logs = log_probabilities(logits)[np.arange(len(labels)), labels]
    return float(-np.maximum(logs, np.log(np.finfo(np.float64).eps)).mean())


def auroc(labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the area under the ROC curve, each class against the rest, mean over the classes.

    None if fewer than two classes are present. Absent classes are left out.
    """
    from sklearn.metrics import roc_auc_score

    present = np.unique(labels)
    if len(present) < 2:
        return None
    return float(np.mean([roc_auc_score(labels == name, probabilities[:, name])
                          for name in present]))


def result_path(folder: Path, split: str) -> Path:
    """Return the path of a run's metrics on `split`, such as `lfw/eval`."""
    return folder / "results" / f"{split}.json"


def write_result(path: Path, split: str, digest: str, metrics: dict[str, Any]) -> None:
    """Publish `metrics` of `split`, whose content has `digest`, at `path`."""
    write_json(path, {"schema": RESULT_SCHEMA, "split": split, "digest": digest, **metrics})


def _by_class(classes: tuple[str, ...], values: np.ndarray) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None
            for name, value in zip(classes, values, strict=True)}


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy of the top class, in equal-width bins (lo, hi].

    Attributes:
        confidence: float64, B; mean in the bin, NaN where the bin is empty.
        accuracy: float64, B.
        count: int64, B; number of images in the bin.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance, weighted by the bins' counts."""
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
