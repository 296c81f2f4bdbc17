"""How models do on parts of a test set: by mask type, by pose, by how many pictures a person has.

The parts come from `pictures.csv` of the data set as it is now; a picture of which nothing is said
is in no part. Intervals are those of the part alone.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fer.evaluate.bootstrap import Tables, draw, within
from fer.evaluate.interval import Interval, interval_of
from fer.evaluate.predictions import NOBODY
from fer.report.analyse import Analysis, Cell, Config

Facts = Callable[[str], Mapping[str, str]]  # sample id -> fact -> value; empty where unknown

PER_PERSON = "pictures of the person"
MANY = 5  # pictures of one person from which on they are not told apart
LEAST_PICTURES = 5  # a smaller part says nothing
MOST_PARTS = 24  # of one fact; more is a name, not a kind


@dataclass(frozen=True)
class Part:
    """One configuration on one part of a test set.

    Attributes:
        fact, value: such as `mask_type` and `cloth`.
        n, people: pictures and people in the part.
        metrics: uar, accuracy, recall:CLASS with intervals; UAR over the classes that are there.
        by_seed: seed -> the same of its run alone.
    """

    config: Config
    split: str
    fact: str
    value: str
    n: int
    people: int
    metrics: dict[str, Interval]
    by_seed: dict[int, dict[str, float]]


def parts(analysis: Analysis, facts: Facts) -> list[Part]:
    """Return every configuration on every part of every test set that has parts."""
    found = []
    for split in analysis.measured_splits():
        cells = [cell for config in analysis.configs
                 if (cell := analysis.cells.get((config.config_id, split))) and cell.tables]
        by_pictures: dict[tuple[str, ...], list[tuple[Cell, Tables]]] = {}
        for cell in cells:
            assert cell.tables is not None
            by_pictures.setdefault(cell.tables.pictures, []).append((cell, cell.tables))
        for members in by_pictures.values():
            for fact, value, keep in _divide(members[0][1], facts):  # one draw of people serves all
                found += [_part(cell, within(tables, keep), fact, value)
                          for cell, tables in members]
    return found


def _part(cell: Cell, part: Tables, fact: str, value: str) -> Part:
    draws = draw(part)
    names = [name for name in draws.observed if name != "macro_f1"]
    return Part(cell.config, cell.split, fact, value, part.n, len(part.people),
                {name: interval_of(draws, name) for name in names},
                {seed: {name: float(draws.observed[name][row]) for name in names}
                 for row, seed in enumerate(draws.seeds)})


def _divide(tables: Tables, facts: Facts) -> list[tuple[str, str, np.ndarray]]:
    """Return fact, value and which pictures have it; facts with two values or more only."""
    known = [facts(picture) for picture in tables.pictures]
    columns = {name: [one.get(name, "") for one in known]
               for name in dict.fromkeys(name for one in known for name in one)}
    of_person = np.bincount(tables.rows)[tables.rows]
    columns[PER_PERSON] = [
        "" if tables.people[row].startswith(NOBODY) else
        "1" if n == 1 else f"2–{MANY - 1}" if n < MANY else f"{MANY} or more"
        for row, n in zip(tables.rows, of_person, strict=True)]
    found = []
    for fact, values in columns.items():
        counts = Counter(values)
        there = sorted(value for value in counts if value and counts[value] >= LEAST_PICTURES)
        if 1 < len(there) <= MOST_PARTS:
            found += [(fact, value, np.array([one == value for one in values]))
                      for value in there]
    return found
