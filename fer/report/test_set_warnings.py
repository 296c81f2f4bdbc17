"""What a reader must know about the test sets and runs before any number: one line each."""

from collections.abc import Mapping, Sequence

import numpy as np

from fer.config.study import GapPair
from fer.errors import noun_for
from fer.evaluate.intervals import LEAST_WORTH as LEAST_FOR_INTERVAL
from fer.evaluate.intervals import Interval
from fer.evaluate.person_tables import Tables
from fer.evaluate.significance import LEAST_PICTURES, LEAST_WORTH, PRIOR, RARE
from fer.report.analysis import Analysis, Cell

MOST_NAMED = 6  # runs in a line


def test_set_warnings(analysis: Analysis) -> list[str]:
    """Return the warnings about classes, people, collapsed runs and uneven seeds."""
    cells, lines = analysis.cells, dict[str, None]()
    for (_, split), cell in cells.items():
        absent = [name.split(":")[1] for name, one in cell.metrics.items()
                  if name.startswith("recall:") and one.value is None]
        if absent:
            lines[f"{split}: no picture of class {', '.join(absent)}; UAR and macro-F1 are over "
                  "the other classes"] = None
        if cell.tables is not None:
            lines |= dict.fromkeys(_of_people(split, cell.tables, cell.metrics["uar"]))
    lines |= dict.fromkeys(_collapsed(cells))
    for (_, split), cell in cells.items():
        if cell.metrics["uar"].uneven:
            lines[f"{cell.config.label}: its seeds vary more than four times as much on {split} as "
                  "those of the other configurations; its limits use its own spread"] = None
    return [*lines, *_nearly_paired(analysis.pairs, cells)]


def _of_people(split: str, tables: Tables, uar: Interval) -> list[str]:
    """Return what the people and the rarest class of a test set do not allow."""
    lines = []
    if uar.worth < LEAST_FOR_INTERVAL:
        lines.append(f"{split}: too few people to generalise (worth {uar.worth:.1f}), so there is "
                     "no interval")
    elif uar.worth < LEAST_WORTH:
        lines.append(f"{split}: its people are worth {uar.worth:.1f} equally weighted ones; below "
                     f"{LEAST_WORTH} nothing is claimed on it")
    counts = np.bincount(tables.labels, minlength=len(tables.classes))
    rare = [f"{counts[place]} {noun_for(int(counts[place]), 'picture')} of class {name}"
            for place, name in enumerate(tables.classes) if 0 < counts[place] < RARE]
    if rare:
        lines.append(f"{split}: {', '.join(rare)}; " + (
            f"below {LEAST_PICTURES} nothing is claimed in UAR"
            if uar.smallest < LEAST_PICTURES else PRIOR))
    return lines


def _collapsed(cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """Return a line on the runs that predict one class for every picture of a test set."""
    found: dict[str, list[str]] = {}
    for (_, split), cell in cells.items():
        for seed in cell.tables.collapsed if cell.tables else ():
            found.setdefault(split, []).append(f"{cell.config.label} seed {seed}")
    return [f"{split}: {len(runs)} collapsed {noun_for(len(runs), 'run')} (one class "
            f"predicted for every picture), part of the means: {', '.join(runs[:MOST_NAMED])}"
            + (" and more" if len(runs) > MOST_NAMED else "") for split, runs in found.items()]


def _nearly_paired(gaps: Sequence[GapPair], cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """Return a warning for each pair of gap sets that share some, but not all, people."""
    pairs = [one for gap in gaps for one in ((gap.synthetic, gap.real), gap.control) if one]
    people = {split: set(cell.tables.people) for (_, split), cell in cells.items() if cell.tables}
    lines = []
    for one, two in pairs:
        left, right = (people.get(split, set()) for split in (one, two))
        if left & right and left != right:
            lines.append(f"{one} and {two} have {len(left & right)} of "
                         f"{len(left | right)} people in common, but count as independent, "
                         "so the interval of their difference is wider than necessary")
    return lines
