"""Contrasts by name: which configurations, on which test sets, in which score.

The formula is in `fer.evaluate.contrasts`; here the classes that the test sets share, the seeds
that a configuration has on all of them, and the pooled seed spread of the study are looked up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fer.evaluate.contrasts import Interval, SeedSpread, Sides, contrast
from fer.evaluate.jackknife import Jackknife, jackknife
from fer.evaluate.person_tables import Tables, on_seeds

Sets = Sequence[tuple[float, str]]  # sign and name of each test set


@dataclass(frozen=True)
class StudyScores:
    """The scores of all configurations of a study on all test sets, and contrasts of them.

    Attributes:
        tables: (configuration, test set) -> predictions.
    """

    tables: Mapping[tuple[str, str], Tables]
    _known: dict[tuple, Jackknife | None] = field(default_factory=dict, repr=False)
    _spreads: dict[tuple, SeedSpread] = field(default_factory=dict, repr=False)

    @cached_property
    def configs(self) -> tuple[str, ...]:
        """The names of the configurations."""
        return tuple(dict.fromkeys(config for config, _ in self.tables))

    def classes(self, splits: Sequence[str]) -> tuple[str, ...]:
        """Return the classes that all of `splits` have pictures of."""
        found: list[str] = []
        for place, split in enumerate(splits):
            one = next((table for (_, name), table in self.tables.items() if name == split), None)
            if one is None:
                return ()
            there = [name for index, name in enumerate(one.classes)
                     if (one.labels == index).any()]
            found = there if not place else [name for name in found if name in there]
        return tuple(found)

    def contrast(self, weights: Mapping[str, float], sets: Sets,
                 metric: str = "uar") -> Interval | None:
        """Return the interval of a weighted sum over configurations of a signed sum over sets.

        Means over classes are over the classes that all sets have. None where a configuration has
        no predictions on one of the sets, no seed with predictions on all of them, or no score.

        Args:
            weights: configuration -> weight: 1; or 1 and -1; or averages of them.
            sets: sign and name of each test set: (1, X); or (1, X), (-1, Y) for a gap.
        """
        classes = self.classes([split for _, split in sets])
        terms = [(weight, self._sides(config, sets, metric, classes))
                 for config, weight in weights.items() if weight]
        if not terms or any(sides is None for _, sides in terms):
            return None
        return contrast([(weight, sides) for weight, sides in terms if sides],
                        self.spread(sets, metric))

    def spread(self, sets: Sets, metric: str = "uar") -> SeedSpread:
        """Return the variance between seeds, pooled over all configurations with these sets."""
        key = (tuple(sets), metric)
        if key not in self._spreads:
            classes = self.classes([split for _, split in sets])
            found = [self._sides(config, sets, metric, classes) for config in self.configs]
            self._spreads[key] = SeedSpread.pooled([sides for sides in found if sides])
        return self._spreads[key]

    def _sides(self, config: str, sets: Sets, metric: str,
               classes: tuple[str, ...]) -> Sides | None:
        """Return the scores of a configuration on its seeds that have all of `sets`."""
        tables = [self.tables.get((config, split)) for _, split in sets]
        if not all(tables):
            return None
        seeds = tuple(sorted(set.intersection(*(set(one.seeds) for one in tables if one))))
        found = [self._score(config, split, metric, classes, seeds) for _, split in sets]
        if not seeds or any(one is None for one in found):
            return None
        return tuple((sign, one) for (sign, _), one in zip(sets, found, strict=True) if one)

    def _score(self, config: str, split: str, metric: str, classes: tuple[str, ...],
               seeds: tuple[int, ...]) -> Jackknife | None:
        key = (config, split, metric, classes, seeds)
        if key not in self._known:
            self._known[key] = jackknife(on_seeds(self.tables[config, split], seeds), metric,
                                         classes) if seeds else None
        return self._known[key]
