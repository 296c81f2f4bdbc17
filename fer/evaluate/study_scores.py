"""Contrasts by name: which configurations, on which test sets, in which score.

The formula is in `fer.evaluate.intervals`; here the classes that the test sets share, the seeds
that a configuration has on all of them, and the pooled seed spread of the study are looked up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from fer.evaluate.intervals import Interval, SeedSpread, SignedSum, contrast
from fer.evaluate.jackknife import jackknife
from fer.evaluate.person_tables import Tables, on_seeds

Sets = Sequence[tuple[float, str]]  # sign and name of each test set


@dataclass(frozen=True)
class StudyScores:
    """The scores of all configurations of a study on all test sets, and contrasts of them.

    Attributes:
        tables: (configuration, test set) -> predictions.
    """

    tables: Mapping[tuple[str, str], Tables]
    _sums: dict[tuple, SignedSum | None] = field(default_factory=dict, repr=False)
    _spreads: dict[tuple, SeedSpread] = field(default_factory=dict, repr=False)

    @cached_property
    def configs(self) -> tuple[str, ...]:
        """The names of the configurations."""
        return tuple(dict.fromkeys(config for config, _ in self.tables))

    @cached_property
    def _classes(self) -> dict[str, tuple[str, ...]]:
        """The classes that each test set has pictures of."""
        first: dict[str, Tables] = {}
        for (_, split), one in self.tables.items():
            first.setdefault(split, one)
        return {split: tuple(name for place, name in enumerate(one.classes)
                             if (one.labels == place).any()) for split, one in first.items()}

    def classes(self, splits: Sequence[str]) -> tuple[str, ...]:
        """Return the classes that all of `splits` have pictures of."""
        there = [self._classes.get(split, ()) for split in splits]
        return tuple(name for name in there[0] if all(name in one for one in there))

    def contrast(self, weights: Mapping[str, float], sets: Sets, metric: str = "uar",
                 classes: Sequence[str] = ()) -> Interval | None:
        """Return the interval of a weighted sum over configurations of a signed sum over sets.

        Means over classes are over those that all sets have, or over `classes`. None where a
        configuration has no predictions on one of the sets, no seed with predictions on all of
        them, or no score.

        Args:
            weights: configuration -> weight: 1; or 1 and -1; or averages of them.
            sets: sign and name of each test set: (1, X); or (1, X), (-1, Y) for a gap.
        """
        used = tuple(classes) or self.classes([split for _, split in sets])
        terms = [(weight, self._sum(config, sets, metric, used))
                 for config, weight in weights.items() if weight]
        known = [(weight, one) for weight, one in terms if one is not None]
        if not known or len(known) < len(terms):
            return None
        return contrast(known, self._spread(sets, metric, used))

    def evenness(self, sets: Sets, metric: str = "uar") -> float | None:
        """Return p of Bartlett's test that the seeds of all configurations vary alike.

        Pooling assumes that, after division by the scale. None without two such configurations.
        """
        from scipy.stats import bartlett

        classes = self.classes([split for _, split in sets])
        found = [one.values / one.scale ** 0.5 for config in self.configs
                 if (one := self._sum(config, sets, metric, classes)) and one.variance > 0]
        return float(bartlett(*found).pvalue) if len(found) > 1 else None

    def _spread(self, sets: Sets, metric: str, classes: tuple[str, ...]) -> SeedSpread:
        """Return the variance between seeds, pooled over all configurations with these sets."""
        key = (tuple(sets), metric, classes)
        if key not in self._spreads:
            found = [self._sum(config, sets, metric, classes) for config in self.configs]
            self._spreads[key] = SeedSpread.pooled([one for one in found if one])
        return self._spreads[key]

    def _sum(self, config: str, sets: Sets, metric: str,
             classes: tuple[str, ...]) -> SignedSum | None:
        """Return the scores of a configuration on its seeds that have all of `sets`."""
        key = (config, tuple(sets), metric, classes)
        if key not in self._sums:
            tables = [self.tables.get((config, split)) for _, split in sets]
            there = [one for one in tables if one is not None]
            seeds = sorted(set.intersection(*(set(one.seeds) for one in there))) if there else []
            whole = bool(seeds and classes) and len(there) == len(tables)
            found = [score for one in there
                     if whole and (score := jackknife(on_seeds(one, seeds), metric, classes))]
            self._sums[key] = SignedSum(tuple(
                (sign, one) for (sign, _), one in zip(sets, found, strict=True))
            ) if len(found) == len(tables) else None
        return self._sums[key]
