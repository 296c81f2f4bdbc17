"""Metrics in resamples of people, as matrix products: of models, differences and gaps.

Pictures of one person are not independent, so people are resampled, not pictures. A resample
is a row of multinomial weights over people; its confusion counts for every seed of a
configuration are one product with the counts of each person. The random numbers depend only on
who the people are: every model measured on the same people sees the same resamples (so
differences are paired), and sets of different people are resampled independently.

Letters in shapes: R resamples, S seeds, G people, C classes. Not for the plain metrics
(`fer.evaluate.metrics`), nor for what the resamples say (`fer.evaluate.intervals`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fer.evaluate.metrics import mean_recall, scores
from fer.evaluate.predictions import Predictions

RESAMPLES = 4000  # Monte-Carlo error of a 95 % limit: about 0.03 standard errors
SEEDS_NEEDED = 5  # below, the spread of seeds cannot be estimated: 76 % coverage with two


@dataclass(frozen=True)
class Tables:
    """Confusion counts by person of one configuration on one test set.

    Attributes:
        counts: float32, S x G x C x C, whole numbers; rows of a table are true classes.
        people: G names, sorted.
        seeds: S seeds, sorted.
        classes: C names.
        pictures: N sample ids, sorted.
        rows: int64, N; which person each picture is of.
        labels: uint8, N; of the pictures.
        predicted: uint8, S x N.
    """

    counts: np.ndarray
    people: tuple[str, ...]
    seeds: tuple[int, ...]
    classes: tuple[str, ...]
    pictures: tuple[str, ...]
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def n(self) -> int:
        """Pictures in the test set."""
        return len(self.pictures)

    @property
    def right(self) -> np.ndarray:
        """bool, S x N: which pictures each seed gets right."""
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Draws:
    """Metrics of each seed, as measured and in every resample of people.

    Attributes:
        observed: metric name -> float64, S.
        resampled: metric name -> float32, R x S; NaN where a class is missing.
        effective: metric name -> how many people it rests on (a rare class rests on few).
        seeds: S seeds.
        n: pictures of each test set involved: two for a gap.
        people: people of each test set involved.
        crowds: who they are, for each test set involved: the key of their resamples.
        least: the lowest value possible: 0 for a metric, -1 for a difference, -2 for a difference
            of differences.
    """

    observed: dict[str, np.ndarray]
    resampled: dict[str, np.ndarray]
    effective: dict[str, float]
    seeds: tuple[int, ...]
    n: tuple[int, ...]
    people: tuple[int, ...]
    crowds: tuple[int, ...]
    least: float = 0.0


def tabulate(by_seed: Mapping[int, Predictions]) -> Tables:
    """Return the counts by person of one configuration, from its predictions of each seed.

    Raises:
        ValueError: the seeds were not measured on the same pictures with the same classes.
    """
    seeds = tuple(sorted(by_seed))
    first = by_seed[seeds[0]]
    order = np.argsort(np.array(first.sample_ids, dtype=object), kind="stable")
    pictures = tuple(first.sample_ids[place] for place in order)
    clusters = first.clusters
    people = tuple(sorted(set(clusters)))
    row = {name: index for index, name in enumerate(people)}
    width, labels = len(first.classes), first.labels[order].astype(np.uint8)
    rows = np.array([row[clusters[place]] for place in order])
    predicted = np.empty((len(seeds), len(pictures)), np.uint8)
    for index, seed in enumerate(seeds):
        table = by_seed[seed]
        mine = order if table.sample_ids == first.sample_ids else np.argsort(
            np.array(table.sample_ids, dtype=object), kind="stable")
        if (tuple(table.sample_ids[place] for place in mine) != pictures
                or table.classes != first.classes):
            raise ValueError(f"seeds {seeds[0]} and {seed} were measured on different pictures")
        predicted[index] = table.predicted[mine]
    counts = _count(rows, labels, predicted, len(people), width)
    return Tables(counts, people, seeds, first.classes, pictures, rows, labels, predicted)


def within(tables: Tables, keep: np.ndarray) -> Tables:
    """Return the tables of a part of the pictures and of the people in it; `keep` is bool (N,)."""
    there, rows = np.unique(tables.rows[keep], return_inverse=True)
    labels, predicted = tables.labels[keep], tables.predicted[:, keep]
    return Tables(
        _count(rows, labels, predicted, len(there), len(tables.classes)),
        tuple(tables.people[row] for row in there), tables.seeds, tables.classes,
        tuple(name for name, kept in zip(tables.pictures, keep, strict=True) if kept),
        rows, labels, predicted)


def _count(rows: np.ndarray, labels: np.ndarray, predicted: np.ndarray, people: int,
           width: int) -> np.ndarray:
    """Return confusion counts by person, float32, S x G x C x C."""
    cells = (rows * width + labels) * width + predicted.astype(np.int64)
    size = people * width * width
    return np.stack([np.bincount(row, minlength=size) for row in cells]).reshape(
        len(predicted), people, width, width).astype(np.float32)


@lru_cache(maxsize=4)
def weights(people: tuple[str, ...], resamples: int = RESAMPLES) -> np.ndarray:
    """Return how often each person is drawn in each resample: float32, R x G, rows sum to G."""
    size = len(people)
    drawn = generator("people", *people).integers(0, size, (resamples, size))
    drawn += np.arange(resamples)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(
        resamples, size).astype(np.float32)


def draw(tables: Tables, resamples: int = RESAMPLES, prior: np.ndarray | None = None) -> Draws:
    """Return the metrics of `tables` (uar, accuracy, macro_f1, recall:CLASS) in every resample.

    Args:
        prior: C shares of the classes to which accuracy and macro-F1 are reweighted; see `scores`.
    """
    seeds, people, width, _ = tables.counts.shape
    # Whole numbers below 2**24 are exact in float32, so the product is the same on any BLAS.
    flat = tables.counts.transpose(1, 0, 2, 3).reshape(people, -1)
    resampled = (weights(tables.people, resamples) @ flat).reshape(-1, seeds, width, width)
    support = (tables.counts[0].sum(-1) > 0).sum(0)  # people with a picture of the class, C
    rare = _rests_on(support)
    effective = {"uar": rare, "macro_f1": rare,
                 "accuracy": float(people) if prior is None else rare} | {
        f"recall:{name}": float(count)
        for name, count in zip(tables.classes, support, strict=True)}
    observed, found = scores(tables.counts.sum(1), prior), scores(resampled, prior)
    _doubt_the_flawless(observed["recall"], found, tables, support)
    return Draws(
        observed=_by_name(observed, tables.classes, np.float64),
        resampled=_by_name(found, tables.classes, np.float32),
        effective=effective, seeds=tables.seeds, n=(tables.n,), people=(people,),
        crowds=(_key("people", *tables.people),))


def _doubt_the_flawless(observed: np.ndarray, found: dict[str, np.ndarray], tables: Tables,
                        support: np.ndarray) -> None:
    """Give the recall of a class that all seeds get right throughout, or wrong, a spread.

    Its resamples are all alike, as if eleven pictures that are all right proved that every picture
    is. The recall is drawn from what Jeffreys' prior leaves possible after so many people (Brown,
    Cai and DasGupta 2001, 10.1214/ss/1009213286), alike for all models that are measured on them.
    UAR has that spread below five seeds, where its 95 % limits hold in 90 % of sets without, and
    where it would have none. Five seeds that are all right have seen more than one has: with
    theirs, the limits hold in 94 to 96 % without, and would in up to 99 %.

    Args:
        observed: recall, S x C. found: `scores` of the resamples, whose recall and uar are changed.
        support: people with a picture of the class, C.
    """
    alike = (observed == observed[0]).all(axis=0) & np.isin(observed[0], (0.0, 1.0))
    if not alike.any():
        return
    recall = found["recall"]
    for place in np.flatnonzero(alike):
        drawn = generator("flawless", tables.classes[place], *tables.people).beta(
            support[place] + 0.5, 0.5, len(recall))[:, None]
        recall[..., place] = np.where(np.isfinite(recall[..., place]),
                                      np.abs(1 - observed[0, place] - drawn), np.nan)
    if len(observed) < SEEDS_NEEDED or alike[support > 0].all():
        found["uar"] = mean_recall(recall)


def difference(left: Draws, right: Draws) -> Draws:
    """Return `left` minus `right` for each seed that both have.

    Paired where the people are the same (two models on one test set), independent where they
    differ (one model on two test sets: the gap).
    """
    seeds = tuple(seed for seed in left.seeds if seed in right.seeds)
    if not seeds:
        raise ValueError(f"no common seed: {left.seeds} and {right.seeds}")
    at, to = ([side.seeds.index(seed) for seed in seeds] for side in (left, right))
    names = [name for name in left.observed if name in right.observed]
    one_set = (left.crowds, left.n) == (right.crowds, right.n)
    return Draws(
        observed={name: left.observed[name][at] - right.observed[name][to] for name in names},
        resampled={name: left.resampled[name][:, at] - right.resampled[name][:, to]
                   for name in names},
        effective={name: min(left.effective[name], right.effective[name]) for name in names},
        seeds=seeds, n=left.n if one_set else left.n + right.n,
        people=left.people if one_set else left.people + right.people,
        crowds=left.crowds if one_set else left.crowds + right.crowds,
        least=min(left.least, right.least) - 1.0)


def on_seeds(draws: Draws, seeds: Sequence[int]) -> Draws:
    """Return the same of some seeds only, which all have to be there."""
    at = [draws.seeds.index(seed) for seed in seeds]
    return replace(draws, seeds=tuple(seeds),
                   observed={name: values[at] for name, values in draws.observed.items()},
                   resampled={name: values[:, at] for name, values in draws.resampled.items()})


def average(draws: Sequence[Draws]) -> Draws:
    """Return the mean over configurations, seed by seed, over the seeds that all have.

    The configurations are taken as given, not as a sample: only people and seeds vary.
    """
    first = draws[0]
    seeds = tuple(seed for seed in first.seeds if all(seed in other.seeds for other in draws))
    if not seeds:
        raise ValueError("no seed that all configurations have")
    at = [[one.seeds.index(seed) for seed in seeds] for one in draws]
    names = list(first.observed)
    return Draws(
        observed={name: np.mean([one.observed[name][index]
                                 for one, index in zip(draws, at, strict=True)], axis=0)
                  for name in names},
        resampled={name: np.mean([one.resampled[name][:, index]
                                  for one, index in zip(draws, at, strict=True)], axis=0)
                   for name in names},
        effective=first.effective, seeds=seeds, n=first.n, people=first.people,
        crowds=first.crowds, least=first.least)


def _rests_on(support: np.ndarray) -> float:
    """Return how many people a mean over classes rests on, by Satterthwaite's rule.

    Args:
        support: integers, C; people with a picture of the class. The recall of a class has a
            variance of about 1 / support, so the rarest class dominates.
    """
    shares = 1.0 / support[support > 0]
    if (support[support > 0] < 2).any():
        return 1.0
    return float(shares.sum() ** 2 / (shares ** 2 / (1 / shares - 1)).sum() + 1)


def _by_name(found: dict[str, np.ndarray], classes: tuple[str, ...],
             kind: type) -> dict[str, np.ndarray]:
    named: dict[str, np.ndarray] = {
        name: found[name].astype(kind) for name in ("uar", "accuracy", "macro_f1")}
    return named | {f"recall:{name}": found["recall"][..., index].astype(kind)
                    for index, name in enumerate(classes)}


def generator(*words: str) -> np.random.Generator:
    """Return a counter-based generator that is a function of `words` on any machine."""
    return np.random.Generator(np.random.Philox(key=_key(*words)))


def _key(*words: str) -> int:
    digest = hashlib.sha256("\x1f".join(words).encode()).digest()
    return int.from_bytes(digest[:16], "little")
