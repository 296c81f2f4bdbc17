"""Bootstrap resamples of metrics over people, for models, differences and gaps.

Images of one person are not independent, so people are resampled, not images. A resample is a row
of multinomial weights over people; its confusion counts for every seed of a configuration are one
matrix product with the counts per person. The random numbers depend only on the set of people:
all models evaluated on the same people share their resamples (so differences are paired), and
sets of different people are resampled independently.

Shapes: R resamples, S seeds, G people, C classes. Plain metrics are in `fer.evaluate.metrics`,
intervals in `fer.evaluate.intervals`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fer.evaluate.metrics import mean_recall, scores
from fer.evaluate.predictions import Predictions

RESAMPLES = 4000  # Monte-Carlo error of a 95 % limit: about 0.03 standard errors
SEEDS_NEEDED = 5  # below, the variance over seeds cannot be estimated: 76 % coverage with two


@dataclass(frozen=True)
class Tables:
    """Confusion counts by person of one configuration on one test set.

    Attributes:
        counts: float32, S x G x C x C, whole numbers; rows of a table are true classes.
        people: G names, sorted.
        seeds: S seeds, sorted.
        classes: C names.
        pictures: N sample ids, sorted.
        rows: int64, N; index of the person in each image.
        labels: uint8, N.
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
        """The number of images in the test set."""
        return len(self.pictures)

    @property
    def right(self) -> np.ndarray:
        """bool, S x N: which images each seed classifies correctly."""
        return np.asarray(self.predicted == self.labels)


@dataclass(frozen=True)
class Draws:
    """Metrics of each seed, as observed and in every resample of people.

    Attributes:
        observed: metric name -> float64, S.
        resampled: metric name -> float32, R x S; NaN where a class is missing.
        effective: metric name -> effective number of people (small for a rare class).
        seeds: S seeds.
        n: number of images of each test set involved; two for a gap.
        people: number of people of each test set involved.
        crowds: key of the set of people of each test set involved, which seeds its resamples.
        least: the lowest possible value: 0 for a metric, -1 for a difference, -2 for a difference
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
    """Return the counts by person of one configuration from the predictions of each seed.

    Raises:
        ValueError: the seeds differ in images or classes.
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
    """Return the tables restricted to the images in `keep`, bool (N,), and their people."""
    present, rows = np.unique(tables.rows[keep], return_inverse=True)
    labels, predicted = tables.labels[keep], tables.predicted[:, keep]
    return Tables(
        _count(rows, labels, predicted, len(present), len(tables.classes)),
        tuple(tables.people[row] for row in present), tables.seeds, tables.classes,
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
    """Return how often each person is drawn in each resample, float32, R x G; rows sum to G."""
    size = len(people)
    drawn = generator("people", *people).integers(0, size, (resamples, size))
    drawn += np.arange(resamples)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=resamples * size).reshape(
        resamples, size).astype(np.float32)


def draw(tables: Tables, resamples: int = RESAMPLES, prior: np.ndarray | None = None) -> Draws:
    """Return the metrics of `tables` (uar, accuracy, macro_f1, recall:CLASS) in every resample.

    Args:
        prior: C class proportions to which accuracy and macro-F1 are reweighted; see `scores`.
    """
    seeds, people, width, _ = tables.counts.shape
    # Integers below 2**24 are exact in float32, so the product does not depend on the BLAS.
    flat = tables.counts.transpose(1, 0, 2, 3).reshape(people, -1)
    resampled = (weights(tables.people, resamples) @ flat).reshape(-1, seeds, width, width)
    support = (tables.counts[0].sum(-1) > 0).sum(0)  # people with an image of the class, C
    rare = _effective_people(support)
    effective = {"uar": rare, "macro_f1": rare,
                 "accuracy": float(people) if prior is None else rare} | {
        f"recall:{name}": float(count)
        for name, count in zip(tables.classes, support, strict=True)}
    observed, found = scores(tables.counts.sum(1), prior), scores(resampled, prior)
    _add_prior_spread(observed["recall"], found, tables, support)
    return Draws(
        observed=_by_name(observed, tables.classes, np.float64),
        resampled=_by_name(found, tables.classes, np.float32),
        effective=effective, seeds=tables.seeds, n=(tables.n,), people=(people,),
        crowds=(_key("people", *tables.people),))


def _add_prior_spread(observed: np.ndarray, found: dict[str, np.ndarray], tables: Tables,
                      support: np.ndarray) -> None:
    """Add a spread to the recall of classes that are 0 or 1 for all seeds.

    Their resamples have no variance, as if eleven correct images proved a recall of 1. The recall
    is drawn from the posterior under Jeffreys' prior given the number of people (Brown, Cai and
    DasGupta 2001, 10.1214/ss/1009213286), with the same draws for all models on these people.
    UAR includes that spread below five seeds, where its 95 % limits otherwise have 90 % coverage,
    and where it would have no variance. With five seeds, its limits have 94 to 96 % coverage
    without the spread, and would have up to 99 % with it.

    Args:
        observed: recall, S x C. found: `scores` of the resamples; recall and uar are modified.
        support: people with an image of the class, C.
    """
    constant = (observed == observed[0]).all(axis=0) & np.isin(observed[0], (0.0, 1.0))
    if not constant.any():
        return
    recall = found["recall"]
    for place in np.flatnonzero(constant):
        drawn = generator("flawless", tables.classes[place], *tables.people).beta(
            support[place] + 0.5, 0.5, len(recall))[:, None]
        recall[..., place] = np.where(np.isfinite(recall[..., place]),
                                      np.abs(1 - observed[0, place] - drawn), np.nan)
    if len(observed) < SEEDS_NEEDED or constant[support > 0].all():
        found["uar"] = mean_recall(recall)


def difference(left: Draws, right: Draws) -> Draws:
    """Return `left` minus `right` for each common seed.

    The difference is paired if the people are the same (two models on one test set) and
    independent if they differ (one model on two test sets: the gap).
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
    """Return `draws` restricted to `seeds`, all of which must be present."""
    at = [draws.seeds.index(seed) for seed in seeds]
    return replace(draws, seeds=tuple(seeds),
                   observed={name: values[at] for name, values in draws.observed.items()},
                   resampled={name: values[:, at] for name, values in draws.resampled.items()})


def average(draws: Sequence[Draws]) -> Draws:
    """Return the mean over configurations, seed by seed, for their common seeds.

    The configurations are fixed, not a sample: only people and seeds vary.
    """
    first = draws[0]
    seeds = tuple(seed for seed in first.seeds if all(seed in other.seeds for other in draws))
    if not seeds:
        raise ValueError("no seed is common to all configurations")
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


def _effective_people(support: np.ndarray) -> float:
    """Return the effective number of people for a mean over classes, by Satterthwaite's rule.

    Args:
        support: integers, C; people with an image of the class. The recall of a class has a
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
    """Return a counter-based generator seeded by `words`, identical on all machines."""
    return np.random.Generator(np.random.Philox(key=_key(*words)))


def _key(*words: str) -> int:
    digest = hashlib.sha256("\x1f".join(words).encode()).digest()
    return int.from_bytes(digest[:16], "little")
