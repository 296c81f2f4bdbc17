"""Analysis of a search's trials: neighbours of the best, importance, savings of early stopping.

Reads only the trial record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.config.search import Domain, Search
from fer.search.trial_record import Entry, best_first

FEWEST = 10  # scored trials needed to fit a forest
TREES, REPEATS = 200, 30
NEIGHBOURS = 5
ABSENT = -0.25  # position of an absent key, outside the range from 0 to 1


@dataclass(frozen=True)
class Importance:
    """The permutation importance of one key: loss of a forest when its values are shuffled.

    Attributes:
        mean, deviation: of the loss in R² over repeats.
    """

    key: str
    mean: float
    deviation: float


@dataclass(frozen=True)
class Importances:
    """Importance of each key, highest first.

    Attributes:
        r2: out-of-bag R² of the forest. At or below zero, the importances are meaningless.
    """

    keys: list[Importance]
    r2: float
    n: int


@dataclass(frozen=True)
class Saved:
    """Savings of early stopping: epochs trained, and epochs if no trial had been stopped."""

    trained: int
    whole: int
    stopped: int


def place(domain: Domain, value: object) -> float:
    """Return the position of a value in its domain, from 0 to 1."""
    if domain.choice is not None:
        return domain.choice.index(value) / max(1, len(domain.choice) - 1)
    assert domain.range is not None and isinstance(value, int | float)
    low, high = domain.range
    if domain.loguniform is not None or domain.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def places(search: Search, entries: Sequence[Entry]) -> np.ndarray:
    """Return the trials' positions in the space (float, trials x keys); `ABSENT` if no value."""
    return np.array([[place(domain, entry.params[key]) if key in entry.params else ABSENT
                      for key, domain in search.space.items()] for entry in entries])


def neighbours(search: Search, entries: Sequence[Entry], best: Entry) -> list[tuple[Entry, float]]:
    """Return the trials nearest to the best one, with their distances.

    The distance is Euclidean over the keys' positions. A different choice, or a key that only one
    of the two has, counts as 1.
    """
    others = [entry for entry in entries if entry.number != best.number]
    if not others:
        return []
    mine, theirs = places(search, [best])[0], places(search, others)
    apart = np.abs(theirs - mine)
    for column, domain in enumerate(search.space.values()):
        lone = (theirs[:, column] == ABSENT) != (mine[column] == ABSENT)
        other = domain.choice is not None and theirs[:, column] != mine[column]
        apart[lone | other, column] = 1.0
    far = np.sqrt((apart**2).sum(1))
    order = np.argsort(far, kind="stable")[:NEIGHBOURS]
    return [(others[index], float(far[index])) for index in order]


def importances(search: Search, entries: Sequence[Entry]) -> Importances | None:
    """Return the importance of the keys in a random forest; None with fewer than ten scored trials.

    This is scikit-learn's permutation importance (Breiman 2001) on the training data of the forest.
    """
    scored = best_first(list(entries), search.higher_is_better)
    if len(scored) < FEWEST:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    scored.sort(key=lambda entry: entry.number)
    features = places(search, scored)
    scores = np.array([entry.score for entry in scored])
    forest = RandomForestRegressor(TREES, oob_score=True, random_state=0).fit(features, scores)
    found = permutation_importance(forest, features, scores, n_repeats=REPEATS, random_state=0)
    keys = [Importance(key, float(mean), float(deviation)) for key, mean, deviation in zip(
        search.space, found.importances_mean, found.importances_std, strict=True)]
    return Importances(sorted(keys, key=lambda one: -one.mean), float(forest.oob_score_),
                       len(scored))


def saved(entries: Sequence[Entry]) -> Saved:
    """Return the savings of early stopping."""
    ended = [entry for entry in entries if entry.state in ("done", "stopped")]
    return Saved(sum(len(entry.curve) for entry in ended), sum(entry.epochs for entry in ended),
                 sum(entry.state == "stopped" for entry in ended))
