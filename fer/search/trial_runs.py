"""Conversion of drawn configurations into runs. Reads data, but never imports torch or Ray."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from fer.config.fold_grid import folds_in
from fer.config.load import Resolved, apply, locate, read_based, resolve
from fer.config.run import RunConfig, all_epochs
from fer.config.search import Search
from fer.config.study import FOLD
from fer.config.yaml_io import Tree
from fer.errors import CallerError
from fer.search.space import Overrides, configurations, draw
from fer.study.expand import Run, identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store

CHECKED = 32  # drawn configurations that are resolved before the search begins


@dataclass(frozen=True)
class Trial:
    """A run of one configuration, preceded by its ancestors; with `train.folds` one a fold."""

    number: int
    params: Overrides
    folds: list[list[Run]]
    seed: int | None = None

    @property
    def runs(self) -> list[Run]:
        """All runs, parents first, each once."""
        return list({run.id: run for line in self.folds for run in line}.values())

    @property
    def run(self) -> Run:
        """The trial's own run, with folds that of the first."""
        return self.folds[0][-1]

    @property
    def epochs(self) -> int:
        """Maximum number of epochs, of all folds together."""
        return len(self.folds) * all_epochs(self.run.config)

    def register(self, store: Store, search: str) -> dict[str, RunFolder]:
        """Write the folders of the runs that are not trained; return all by run id."""
        folders = {run.id: store.folder(run) for run in self.runs}
        for run in self.runs:
            if not folders[run.id].trained:
                folders[run.id].register(run, {"cluster": "search", "search": search})
        return folders


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
        configs = [self.config(params, seed, fold) for fold in range(self.folds or 1)]
        return Trial(number, params, [identify(config, self.contents, self.search.resources.ranks)
                                      for config in configs], seed)

    @cached_property
    def folds(self) -> int:
        """The number of folds that each trial is trained on; 0 without `train.folds`."""
        folds = folds_in(self._base(), self.search.set)
        return int(folds) if isinstance(folds, int) and FOLD not in self.search.set else 0

    def config(self, params: Overrides, seed: int | None = None, fold: int = 0) -> RunConfig:
        """Return the base configuration with `params` applied, with folds that of one fold."""
        place = f"search '{self.search.search}' ({label(params)})" if params else self.search.base
        own = {**({} if seed is None else {"seed": seed}), **({FOLD: fold} if self.folds else {})}
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
        if self.folds and self.search.resources.ranks > 1:
            raise CallerError("train.folds: trials that are separate jobs cannot pool their folds; "
                              "set resources.gpus=1 resources.nodes=1")
        return [base, *configs], max(self.folds, 1) * max(all_epochs(config) for config in configs)

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
