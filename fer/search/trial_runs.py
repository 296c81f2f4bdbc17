"""From a drawn configuration to the run that tries it. Looks at data, never at torch or Ray."""

from collections.abc import Iterator, Sequence
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

CHECKED = 32  # drawn configurations that are resolved before anything begins


@dataclass(frozen=True)
class Trial:
    """A run that tries one configuration, after the runs that it starts from."""

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
        """The most epochs that it trains."""
        return all_epochs(self.run.config)


@dataclass
class TrialFactory:
    """Makes trials of a search's configurations.

    Args:
        contents: digests of what the runs read.
    """

    search: Search
    contents: InputDigests
    _known: Resolved = field(default_factory=dict)

    def trial(self, number: int, params: Overrides, seed: int | None = None) -> Trial:
        """Return the trial of a configuration.

        Raises:
            CallerError: it is none that can be trained.
        """
        config = self.config(params, seed)
        runs = identify(config, self.contents, self.search.resources.ranks)
        return Trial(number, params, runs, seed)

    def config(self, params: Overrides, seed: int | None = None) -> RunConfig:
        """Return the configuration that `params` make of the base."""
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
        """Return some configurations of the space: the first ones of a list, or drawn by chance.
        """
        if self.search.searcher == "optuna":
            return [draw(self.search, number) for number in range(most)]
        return list(islice(self.listed(), most))

    def listed(self) -> Iterator[Overrides]:
        """Yield the configurations of a random search or a grid, as many as the budget has."""
        return islice(configurations(self.search), self.search.budget.trials)

    def checked(self) -> tuple[list[RunConfig], int]:
        """Return some of the configurations, and the most epochs that one of them trains.

        Raises:
            CallerError: one of them is wrong: an unknown key, a value that it cannot have.
        """
        base = self.config({})
        self._check_keys(base)
        configs = [self.config(params) for params in self.sample()]
        return [base, *configs], max(all_epochs(config) for config in configs)

    def _check_keys(self, base: RunConfig) -> None:
        """Name the key that is wrong, before a configuration with all of them does."""
        for key, domain in self.search.space.items():
            if domain.when:
                continue  # alone it may be one that cannot be
            try:
                self.config({key: domain.at(0.0)})
            except CallerError as error:
                raise CallerError(f"space.{key}: {error}") from None


def label(params: Overrides) -> str:
    """Return a configuration in one line, as tables and errors show it."""
    return ", ".join(f"{key}={shown(value)}" for key, value in params.items())


def shown(value: object) -> str:
    """Return a value as short as it can be read."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value.get("name", value)) if isinstance(value, dict) else str(value)


def parents_of(trials: Sequence[Trial]) -> list[Run]:
    """Return the runs that trials start from, each once."""
    found = {run.id: run for trial in trials for run in trial.runs[:-1]}
    return list(found.values())
