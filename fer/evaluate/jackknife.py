"""Scores of one configuration on one test set, with each person left out in turn.

The jackknife over people needs no random numbers and works for every smooth score: recall, the
unweighted average recall (UAR), accuracy, macro-F1, NLL, Brier score and the debiased calibration
error. Scores of counts have half a picture right and half wrong added to each class, so that a
flawless class has a variance. What is printed is the score without them.

Shapes: S seeds, G people, C classes, B bins. Intervals are in `fer.evaluate.intervals`.
Source: Efron and Stein 1981 (10.1214/aos/1176345462); Agresti and Coull 1998 (10.2307/2685469).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer.evaluate.metrics import CALIBRATION_BINS
from fer.evaluate.person_tables import Tables
from fer.evaluate.predictions import named_people

HALF = 0.5  # a picture right, and one wrong, in each class
SOFT = ("nll", "brier", "ece_debiased")  # scores of probabilities


@dataclass(frozen=True)
class Jackknife:
    """A score of one configuration on one test set.

    Attributes:
        raw: float64, S; the score of each seed, as printed.
        values: float64, S; the same with half a picture right and half wrong in each class.
        deviations: float64, S x G; how far the score of each seed moves without each person,
            centred and scaled so that the sum of squares is the variance over people.
        prior_variance: of the added halves.
        worth: how many equally weighted people the people are worth (Kish 1965).
        scale: what a variance over seeds is proportional to, for pooling over configurations.
        share: whether the score lies in 0…1.
        smallest: number of images of the rarest class that the score uses.
        flawless: whether a class is entirely right or entirely wrong for every seed.
        seeds, n, people: the seeds, the number of images, and the names of the people.
    """

    raw: np.ndarray
    values: np.ndarray
    deviations: np.ndarray
    prior_variance: float
    worth: float
    scale: float
    share: bool
    smallest: int
    flawless: bool
    seeds: tuple[int, ...]
    n: int
    people: tuple[str, ...]

    @cached_property
    def named(self) -> int:
        """The number of people who are known by name."""
        return named_people(self.people)


def jackknife(tables: Tables, metric: str, classes: tuple[str, ...] = ()) -> Jackknife | None:
    """Return one score; None where it is undefined (no image of a class that it needs).

    Args:
        metric: `uar`, `accuracy`, `macro_f1`, `recall:CLASS`, `nll`, `brier` or `ece_debiased`.
        classes: those that UAR and macro-F1 are means over; if empty, those in the test set.
    """
    support = tables.counts[0].sum(-1).astype(np.float64)  # G x C
    present = support.sum(0) > 0
    used = ([metric.split(":", 1)[1]] if metric.startswith("recall:") else classes
            or [name for name, there in zip(tables.classes, present, strict=True) if there])
    at = [tables.classes.index(name) for name in used]
    if not at or not present[at].all():
        return None
    facts = {"seeds": tables.seeds, "n": tables.n, "people": tables.people}
    if metric in SOFT:
        return _soft_score(tables, metric, facts)
    if metric == "macro_f1":
        return _macro_f1(tables.counts.astype(np.float64), support, at, facts)
    right = np.diagonal(tables.counts, axis1=-2, axis2=-1).astype(np.float64)
    if metric == "accuracy":
        right, support = right.sum(-1, keepdims=True), support.sum(-1, keepdims=True)
    else:
        right, support = right[..., at], support[:, at]
    return mean_of_shares(right, support, facts)


def mean_of_shares(right: np.ndarray, support: np.ndarray, facts: dict) -> Jackknife:
    """Return the mean over C classes of the share of pictures that are right.

    Args:
        right: S x G x C, pictures that a seed has right. support: G x C, pictures there are.
        facts: the `seeds`, `n` and `people` of the result.
    """
    total, hits = support.sum(0), right.sum(1)  # C; S x C
    shares = (hits + HALF) / (total + 1)
    without = ((hits[:, None] - right + HALF) / (total - support + 1)).mean(-1)
    mean, wide = shares.sum(0) / len(shares), len(total)
    prior = HALF * ((1 - mean) ** 2 + mean ** 2) / (total + 1) ** 2 / wide ** 2
    flawless = bool((((hits == 0) | (hits == total)).all(0)).any())
    return _result((hits / total).mean(-1), shares.mean(-1), without, support, float(prior.sum()),
                   flawless, True, facts)


def _macro_f1(counts: np.ndarray, support: np.ndarray, at: list[int], facts: dict) -> Jackknife:
    """Return the mean over classes of F1 = 2 hits / (true + predicted); counts are S x G x C x C.

    The half that is wrong falls on the other classes alike, so each is predicted once more.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1)[..., at]
    both = counts.sum(-2)[..., at] + support[:, at]  # S x G x C: true + predicted
    hits, sums, wide = right.sum(1), both.sum(1), len(at)
    values = (2 * hits + 1) / (sums + 2)
    without = ((2 * (hits[:, None] - right) + 1) / (sums[:, None] - both + 2)).mean(-1)
    f1, size = values.mean(0), (sums + 2).mean(0)
    moved = np.add.outer(f1 / size, f1 / size)  # by a picture of class i that is called j
    np.fill_diagonal(moved, 0)
    wrong = (moved ** 2).sum(-1) / max(wide - 1, 1)
    prior = HALF * ((2 * (1 - f1) / size) ** 2 + wrong) / wide ** 2
    flawless = bool((((hits == 0) | (2 * hits == sums)).all(0)).any())
    return _result((2 * hits / sums).mean(-1), values.mean(-1), without, support[:, at],
                   float(prior.sum()), flawless, True, facts)


def _soft_score(tables: Tables, metric: str, facts: dict) -> Jackknife | None:
    """Return the mean of a loss, or the debiased squared calibration error."""
    people = len(tables.people)
    pictures = np.bincount(tables.rows, minlength=people).astype(np.float64)
    if metric == "ece_debiased":
        found = [_calibration(tables, row, pictures) for row in range(len(tables.seeds))]
        raw, without = np.array([one[0] for one in found]), np.stack([one[1] for one in found])
    else:
        losses = np.stack([np.bincount(tables.rows, row, people)
                           for row in getattr(tables, metric)])
        raw = losses.sum(1) / tables.n
        without = ((losses.sum(1, keepdims=True) - losses)
                   / np.maximum(tables.n - pictures, 1))
    return _result(raw, raw, without, pictures[:, None], 0.0, False, False, facts)


def _calibration(tables: Tables, seed: int, pictures: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the debiased squared calibration error, and without each person (G).

    In each bin, the mean product of confidence minus correctness over pairs of pictures of
    different people; it is zero on average for a calibrated model, whatever the number of pictures
    (Kumar et al. 2019, 1909.10155, in the form of Widmann et al. 2019, 1910.11385).
    """
    people, confidence = len(pictures), tables.confidence[seed]
    edges = np.linspace(0.0, 1.0, CALIBRATION_BINS + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)
    cell, size = tables.rows * CALIBRATION_BINS + bins, people * CALIBRATION_BINS
    residual, count = (np.bincount(cell, weight, size).reshape(people, -1)
                       for weight in (confidence - tables.right[seed], np.ones(len(cell))))
    parts = (residual, residual ** 2, count, count ** 2)
    totals = [part.sum(0) for part in parts]
    less = _debiased(*(total - part for total, part in zip(totals, parts, strict=True)))
    return float(_debiased(*totals) / tables.n), less / np.maximum(tables.n - pictures, 1)


def _debiased(sums: np.ndarray, squares: np.ndarray, counts: np.ndarray, squared: np.ndarray
              ) -> np.ndarray:
    pairs = counts ** 2 - squared
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(pairs > 0.5, counts * (sums ** 2 - squares) / pairs, 0).sum(-1))


def _result(raw: np.ndarray, values: np.ndarray, without: np.ndarray, support: np.ndarray,
            prior: float, flawless: bool, share: bool, facts: dict) -> Jackknife:
    """Return a score from its values (S) and those without each person (S x G)."""
    active = support.sum(1) > 0  # people with no picture of the classes change nothing
    count = max(int(active.sum()), 1)
    apart = np.where(active, without - (without @ active / count)[:, None],
                     0.0) * ((count - 1) / count) ** 0.5
    weight = (support / support.sum(0)).sum(1)
    level = float(values.mean())
    return Jackknife(
        raw, values, apart, prior, float(weight.sum() ** 2 / (weight ** 2).sum()),
        level * (1 - level) if share else 1.0, share, int(support.sum(0).min()), flawless, **facts)
