"""Scores on subgroups of a test set: by mask type, pose, further columns, and images per person.

Subgroups come from the data set's current `pictures.csv`; an image without metadata is in none.
A column of many numbers, such as ages, is cut at its quartiles.
Intervals are those of the subgroup alone, with the seed spread of all configurations on it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fer.config.study import GapPair
from fer.data.metadata import ANNOTATIONS, EDGES
from fer.evaluate.intervals import Interval
from fer.evaluate.metrics import scores as metrics_of
from fer.evaluate.metrics import soft_scores
from fer.evaluate.person_tables import Tables, within
from fer.evaluate.predictions import NOBODY, named_people
from fer.evaluate.study_scores import StudyScores
from fer.report.analysis import Analysis, Cell
from fer.report.configurations import Config
from fer.report.read.load_results import Measured

Facts = Callable[[str], Mapping[str, str]]  # sample id -> fact -> value; empty where unknown

PER_PERSON = "pictures of the person"
MANY = 5  # people with at least this many images form one subgroup
LEAST_PICTURES = 5  # smaller subgroups are dropped
MOST_PARTS = 24  # per fact; more values are names, not categories
MOST_NUMBERS = 10  # different numbers that are categories: the tones of a skin scale, say


@dataclass(frozen=True)
class Subgroup:
    """One configuration on one subgroup of a test set.

    Attributes:
        fact, value: such as `mask_type` and `cloth`.
        n, people: images and people in the subgroup.
        metrics: uar, accuracy, macro_f1, recall:CLASS with intervals; means over classes are over
            the classes present.
        by_seed: seed -> the same for its run alone, and precision:CLASS, nll, brier, ece, auroc;
            None where undefined.
        confusion: int64, C x C, summed over seeds; rows true.
        gap: the gap in UAR with the subgroup in place of its test set. None if its test set is not
            part of the study's gap, or if the subgroup lacks a class.
    """

    config: Config
    split: str
    fact: str
    value: str
    n: int
    people: int
    metrics: dict[str, Interval]
    by_seed: dict[int, dict[str, float | None]]
    confusion: np.ndarray
    gap: Interval | None = None

    @property
    def plain(self) -> dict[str, float | None]:
        """Metrics without intervals: means over seeds, None if undefined for any seed."""
        first, *others = self.by_seed.values()
        found: dict[str, float | None] = {}
        for name in first.keys() - self.metrics.keys():
            values = [one for alone in (first, *others) if (one := alone[name]) is not None]
            found[name] = float(np.mean(values)) if len(values) > len(others) else None
        return dict(sorted(found.items()))


def subgroup_scores(analysis: Analysis, facts: Facts, measured: Mapping[tuple[str, str], Measured]
          ) -> list[Subgroup]:
    """Return the scores of every configuration on every subgroup of every test set.

    Args:
        measured: run name, split -> predictions.
    """
    found = []
    for split in analysis.measured_splits():
        cells = [cell for config in analysis.configs
                 if (cell := analysis.cells.get((config.config_id, split))) and cell.tables]
        by_pictures: dict[tuple[str, ...], list[tuple[Cell, Tables]]] = {}
        for cell in cells:
            assert cell.tables is not None
            by_pictures.setdefault(cell.tables.pictures, []).append((cell, cell.tables))
        for members in by_pictures.values():
            divided = divide(members[0][1], facts)
            logits = [_logits(cell, tables, measured) if divided else {}
                      for cell, tables in members]
            for fact, value, keep in divided:  # one study, so that the seed spread is pooled
                parts = {cell.config.config_id: within(tables, keep) for cell, tables in members}
                scores = _with_other_set(parts, split, analysis)
                found += [_part(cell, parts[cell.config.config_id], fact, value,
                                {seed: rows[keep] for seed, rows in own.items()}, scores, analysis)
                          for (cell, _), own in zip(members, logits, strict=True)]
    return found


def _with_other_set(parts: Mapping[str, Tables], split: str, analysis: Analysis) -> StudyScores:
    """Return the scores with a subgroup in place of its test set; of the gap, the other set too."""
    other = {name for pair in _pairs(split, analysis) for _, name in analysis.sets_of(pair)}
    other -= {split}
    return StudyScores({(name, split): one for name, one in parts.items()} | {
        key: one for key, one in analysis.scores.tables.items()
        if key[1] in other and key[0] in parts})


def _logits(cell: Cell, tables: Tables, measured: Mapping[tuple[str, str], Measured]
            ) -> dict[int, np.ndarray]:
    """Return the logits of each seed's run (N, C) in the image order of the tables."""
    found = {}
    for run in reversed(cell.config.runs):  # the first run of a duplicate seed counts
        one = measured.get((run.run, cell.split))
        if one is not None and one.predictions is not None:
            names = np.array(one.predictions.sample_ids, dtype=object)
            found[run.seed] = one.predictions.logits[np.argsort(names, kind="stable")]
    return {seed: found[seed] for seed in tables.seeds}


def _part(cell: Cell, part: Tables, fact: str, value: str, logits: Mapping[int, np.ndarray],
          scores: StudyScores, analysis: Analysis) -> Subgroup:
    counts = part.counts.sum(axis=1).astype(np.int64)
    plain, name = metrics_of(counts), cell.config.config_id
    alone = {metric: plain[metric] for metric in ("uar", "accuracy", "macro_f1")} | {
        f"recall:{one}": plain["recall"][:, place] for place, one in enumerate(part.classes)}
    uar = scores.contrast({name: 1}, [(1, cell.split)])
    assert uar is not None, "a subgroup has pictures"
    metrics = {metric: scores.contrast({name: 1}, [(1, cell.split)], metric)
               or replace(uar, value=None, low=None, high=None) for metric in alone}
    people = named_people(part.people)
    return Subgroup(cell.config, cell.split, fact, value, part.n, people, metrics,
                    {seed: {**{metric: _known(values[row]) for metric, values in alone.items()},
                            **_precision(counts[row], part.classes),
                            **soft_scores(part.labels, logits[seed])}
                     for row, seed in enumerate(part.seeds)}, counts.sum(axis=0),
                    _gap(cell, scores, analysis))


def _gap(cell: Cell, scores: StudyScores, analysis: Analysis) -> Interval | None:
    """Return the gap in UAR with a subgroup in place of its test set, if it lacks no class."""
    for pair in _pairs(cell.split, analysis):
        sets = analysis.sets_of(pair)
        splits = [split for _, split in sets]
        if scores.classes(splits) == analysis.scores.classes(splits):
            return scores.contrast({cell.config.config_id: 1}, sets)
    return None


def _pairs(split: str, analysis: Analysis) -> list[GapPair]:
    """Return the gap that a set is part of; of the synthetic one, the main gap."""
    own = [pair for pair in analysis.pairs if split in (pair.synthetic, pair.real)]
    return own[:1]


def _precision(table: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    with np.errstate(invalid="ignore"):
        values = np.diagonal(table) / table.sum(axis=0)
    return {f"precision:{name}": _known(one) for name, one in zip(classes, values, strict=True)}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def divide(tables: Tables, facts: Facts) -> list[tuple[str, str, np.ndarray]]:
    """Return fact, value and image mask, for facts with two values or more."""
    known = [facts(picture) for picture in tables.pictures]
    columns = {name: [one.get(name, "") for one in known]
               for name in dict.fromkeys(name for one in known for name in one)
               if name not in (ANNOTATIONS, *EDGES)}
    of_person = np.bincount(tables.rows)[tables.rows]
    columns[PER_PERSON] = [
        "" if tables.people[row].startswith(NOBODY) else
        "1" if n == 1 else f"2–{MANY - 1}" if n < MANY else f"{MANY} or more"
        for row, n in zip(tables.rows, of_person, strict=True)]
    found = []
    for fact, given in columns.items():
        values = _in_quarters(given)
        counts = Counter(values)
        kept = sorted(value for value in counts if value and counts[value] >= LEAST_PICTURES)
        if 1 < len(kept) <= MOST_PARTS:
            found += [(fact, value, np.array([one == value for one in values]))
                      for value in kept]
    return found


def _in_quarters(values: Sequence[str]) -> Sequence[str]:
    """Return many different numbers as ranges between quartiles; anything else as it is."""
    try:
        numbers = {value: float(value) for value in set(values) - {""}}
    except ValueError:
        return values
    if len(numbers) <= MOST_NUMBERS or not np.isfinite(list(numbers.values())).all():
        return values
    known = np.array([numbers[value] for value in values if value])
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="lower"))
    parts = np.searchsorted(edges, known)
    names = {part: f"{known[parts == part].min():g} to {known[parts == part].max():g}"
             for part in np.unique(parts)}
    place = {value: names[int(np.searchsorted(edges, number))] for value, number in numbers.items()}
    return [place.get(value, "") for value in values]
