"""Conversion of drawn configurations into runs. Reads data, but never imports torch or Ray."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from fer.config.load import Resolved, apply, locate, read_based, resolve
from fer.config.run import RunConfig, all_epochs
from fer.config.search import Search
from fer.config.yaml_io import Tree
from fer.errors import CallerError
from fer.search.space import Overrides, configurations, draw
from fer.study.expand import Run, identify
from fer.study.inputs import InputDigests

CHECKED = 32  # drawn configurations that are resolved before the search begins


@dataclass(frozen=True)
class Trial:
    """A run of one configuration, preceded by its ancestors."""

    number: int
    params: Overrides
    runs: list[Run]
    seed: int | None = None

    @property
    def run(self) -> Run:
        """The trial's own run."""
        return self.runs[-1]

    @property
    def epochs(self) -> int:
        """Maximum number of epochs."""
        return all_epochs(self.run.config)


@dataclass
class TrialFactory:
    """Factory of trials from a search's configurations.

    Args:
        contents: digests of the runs' inputs.
    """

    search: Search
    contents: InputDigests
    _known: Resolved = field(default_factory=dict)

    def trial(self, number: int, params: Overrides, seed: int | None = None) -> Trial:
        """Return the trial of a configuration.

        Raises:
            CallerError: it cannot be trained.
        """
        config = self.config(params, seed)
        runs = identify(config, self.contents, self.search.resources.ranks)
        return Trial(number, params, runs, seed)

    def config(self, params: Overrides, seed: int | None = None) -> RunConfig:
        """Return the base configuration with `params` applied."""
        place = f"search '{self.search.search}' ({label(params)})" if params else self.search.base
        own = {} if seed is None else {"seed": seed}
        return resolve(apply(self._base(), {**self.search.set, **params, **own}, place), place,
                       self._known)

    def kind(self, params: Overrides) -> tuple[str, str]:
        """Return the names of backbone and recipe of a configuration."""
        config = self.config(params)
        return config.backbone.name, config.recipe.name

    def _base(self) -> Tree:
        return read_based(locate(self.search.base))

    def sample(self, most: int = CHECKED) -> list[Overrides]:
        """Return some configurations of the space: the first of a list, or random draws."""
        if self.search.searcher == "optuna":
            return [draw(self.search, number) for number in range(most)]
        return list(islice(self.listed(), most))

    def listed(self) -> Iterator[Overrides]:
        """Yield the configurations of a random search or a grid, up to the budget."""
        return islice(configurations(self.search), self.search.budget.trials)

    def checked(self) -> tuple[list[RunConfig], int]:
        """Return some of the configurations, and their maximum number of epochs.

        Raises:
            CallerError: one of them has an unknown key or an invalid value, or they are not
                validated on the same pictures.
        """
        base = self.config({})
        self._check_keys(base)
        configs = [self.config(params) for params in self.sample()]
        drawn = {str(masks) if (masks := one.train.masks) and masks.on_validation else ""
                 for one in configs}
        if len(drawn) > 1:
            raise CallerError("space: trials would be validated with different masks, and their "
                              "scores not comparable; set train.masks.on_validation=false")
        return [base, *configs], max(all_epochs(config) for config in configs)

    def _check_keys(self, base: RunConfig) -> None:
        """Check keys one at a time, so that an error names the key."""
        for key, domain in self.search.space.items():
            if domain.when:
                continue  # it may be invalid alone
            try:
                self.config({key: domain.at(0.0)})
            except CallerError as error:
                raise CallerError(f"space.{key}: {error}") from None


def label(params: Overrides) -> str:
    """Return a configuration in one line, for tables and errors."""
    return ", ".join(f"{key}={shown(value)}" for key, value in params.items())


def shown(value: object) -> str:
    """Return a value in short form."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value.get("name", value)) if isinstance(value, dict) else str(value)
