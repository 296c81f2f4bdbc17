"""Configurations drawn from a search's space. Pure; every draw is a function of its number.

The value of a key depends only on (the search's seed, the trial's number, the key), so a resumed
search draws the same trials, and adding a key to the space does not change the others' values.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any
from zlib import crc32

import numpy as np

from fer.config.search import Domain, Search

Overrides = dict[str, Any]
MOST_REPEATS = 1000  # consecutive repeated draws after which the space counts as exhausted


def holds(domain: Domain, chosen: Mapping[str, Any]) -> bool:
    """Return whether a key is active, given the values chosen for its conditions."""
    return all(key in chosen and chosen[key] in values for key, values in domain.when.items())


def draw(search: Search, number: int) -> Overrides:
    """Return the overrides of random draw `number`."""
    chosen: Overrides = {}
    for key, domain in search.ordered.items():
        if holds(domain, chosen):
            rng = np.random.default_rng([search.seed, number, crc32(key.encode())])
            chosen[key] = domain.at(float(rng.random()))
    return chosen


def crossed(search: Search) -> Iterator[Overrides]:
    """Yield the overrides of each cell of the grid, the last key changing first."""
    values = {key: domain.values or [] for key, domain in search.ordered.items()}
    for cell in itertools.product(*values.values()):
        chosen: Overrides = {}
        for (key, domain), value in zip(search.ordered.items(), cell, strict=True):
            if holds(domain, chosen):
                chosen[key] = value
        yield chosen


def configurations(search: Search) -> Iterator[Overrides]:
    """Yield the distinct configurations of a random search or a grid."""
    if search.searcher == "grid":
        drawn = crossed(search)
    else:
        drawn = (draw(search, number) for number in itertools.count())
    seen: set[str] = set()
    repeats = 0
    for chosen in drawn:
        name = json.dumps(chosen, sort_keys=True)
        repeats = repeats + 1 if name in seen else 0
        if repeats > MOST_REPEATS:
            return
        if not repeats:
            seen.add(name)
            yield chosen
