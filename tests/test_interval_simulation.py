"""Simulated studies with effects of people, pictures and seeds: limits hold, equals are not ranked.

The full table is `benchmarks/interval_simulation.csv`; here are a few cells of it.
"""

import csv
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy.special import ndtri

from fer.evaluate.intervals import SEEDS_AND_TEST, SeedSpread, SignedSum, contrast
from fer.evaluate.jackknife import mean_of_shares

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import interval_simulation as simulation
from interval_simulation import BOOTSTRAP, NAMES, Cell, Tally, simulate

ERRORS = 3  # standard errors of a simulated share that a test allows


@pytest.mark.parametrize(("cell", "sets"), [
    (Cell(30, 135, 2, 2, "middling"), 300), (Cell(8, 135, 2, 2, "middling"), 300),
    (Cell(135, 135, 1, 2, "near the ceiling"), 300),
    pytest.param(Cell(15, 360, 2, 8, "middling"), 1000, marks=pytest.mark.slow),
    pytest.param(Cell(135, 135, 5, 8, "easy"), 500, marks=pytest.mark.slow)])
def test_limits_cover_and_families_of_equal_methods_are_tied(cell: Cell, sets: int) -> None:
    found = simulate(cell, sets, seed=1)
    below = ERRORS * (0.05 * 0.95 / sets) ** 0.5
    assert found.without == 0
    for name in NAMES:
        assert found.covered[name] / sets >= 0.945 - below, name
    assert found.claimed / sets <= 0.06 + below
    if cell.seeds == 1:
        assert found.claimed == 0  # of these models only
    if cell.level == "near the ceiling":  # narrower limits there would not hold
        assert found.covered[BOOTSTRAP] / sets < 0.94 and found.width[BOOTSTRAP] > 0


def test_four_people_have_limits_that_hold_and_allow_no_claim() -> None:
    found = simulate(Cell(4, 135, 2, 4, "middling"), 200, seed=1)
    assert found.claimed == 0 and found.covered["uar"] / 200 >= 0.91 - 0.045


def test_without_the_guards_four_people_would_be_claims() -> None:
    """The simulation can fail: what the guards hold back is there."""
    found = simulate(Cell(4, 135, 1, 8, "middling"), 150, seed=1)
    assert isinstance(found, Tally) and found.significant > 0 == found.claimed


@pytest.mark.parametrize("seeds", [2, 3])
def test_losing_a_run_does_not_narrow_intervals_on_average(seeds: int) -> None:
    """Neither those of its own configuration nor those of the others."""
    cell, rng = Cell(30, 135, seeds, 8, "middling"), np.random.default_rng(seeds)
    wide = 1 + simulation.PERSON ** 2 + simulation.PICTURE ** 2 + simulation.OWN ** 2
    ease = ndtri(simulation.LEVELS[cell.level]) * (wide + simulation.SEED_SPREAD ** 2) ** 0.5
    widths = []
    for _ in range(60):
        quality = simulation.SEED_SPREAD * rng.normal(size=(cell.configs, cell.seeds))
        hits, support, facts = simulation._draw(rng, cell, ease, quality, 0)
        widths.append([_widths([one[:-1] if lost and place == 1 else one
                                for place, one in enumerate(hits)], support, facts)
                       for lost in (False, True)])
    whole, less = np.mean(widths, axis=0)
    assert (less >= 0.995 * whole).all() and less[1] > whole[1] and less[2] > whole[2]


def _widths(hits: Sequence[np.ndarray], support: np.ndarray, facts: dict) -> list[float]:
    """Return widths of a configuration, of the one that lost a run, and of their difference."""
    scores = [SignedSum(((1.0, mean_of_shares(
        one, support, {**facts, "seeds": facts["seeds"][:len(one)]})),)) for one in hits]
    spread = SeedSpread.pooled(scores)
    terms = ([(1.0, scores[0])], [(1.0, scores[1])], [(1.0, scores[0]), (-1.0, scores[1])])
    found = [contrast(one, spread) for one in terms]
    assert all(one.kind == SEEDS_AND_TEST for one in found)
    return [(one.high or 0.0) - (one.low or 0.0) for one in found]


def test_the_stored_table_is_whole_and_within_its_promises() -> None:
    with open(REPOSITORY / "benchmarks/interval_simulation.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert {int(row["people"]) for row in table} == {4, 8, 15, 30, 135}
    assert {int(row["configs"]) for row in table} == {2, 8, 20}
    assert {row["level"] for row in table} == {"middling", "easy", "near the ceiling", "floor"}
    assert all(int(row["sets"]) >= 1000 for row in table)
    for row in table:
        assert float(row["families_claimed"]) <= (0 if row["seeds"] == "1" or row["people"] == "4"
                                                  else 6)
        if row["level"] == simulation.CEILING:  # what is no wider than the bootstrap fails there
            assert float(row["bootstrap_covered"]) < 94.5 < float(row["uar_covered"])
            assert float(row["bootstrap_width"]) < float(row["uar_width"])
        else:
            assert row["bootstrap_covered"] == row["bootstrap_width"] == ""
        least = 91 if row["people"] == "4" else 93.5
        assert min(float(row[f"{name}_covered"]) for name in NAMES) >= least, row
