"""The configurations of a study: runs without their seeds; nothing else is pooled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fer.config.starts import default_keys
from fer.report.read.run_files import ReportRun

MASKS = "train.masks"  # grid key of masks that are drawn while training


def is_mask_key(key: str) -> bool:
    """Return whether a key of the configuration is about masks that are drawn while training."""
    return key == MASKS or key.startswith(f"{MASKS}.")


@dataclass(frozen=True)
class Config:
    """One configuration: runs that differ in the seed only."""

    config_id: str
    backbone: str
    recipe: str
    train_on: str
    axes: tuple[tuple[str, str], ...]
    runs: tuple[ReportRun, ...]
    shared: frozenset[str] = frozenset()  # axes with the same value in all configurations
    full: frozenset[str] = frozenset()  # axes whose last component is ambiguous
    drawn_masks: bool = False  # on the fly, in every run of the study

    @property
    def trained_on(self) -> str:
        """The training set, and whether masks are drawn on it on the fly, where that differs."""
        axes = {key: text for key, text in self.axes
                if key not in self.shared and is_mask_key(key)}
        if MASKS in axes and axes[MASKS] in ("None", "null", ""):
            return f"{self.train_on} without drawn masks"
        if not axes and not self.drawn_masks:
            return self.train_on
        settings = "".join(f" ({key.removeprefix(f'{MASKS}.')} = {text})" if key != MASKS
                           else f" ({text.strip('{}')})".replace("'", "")
                           for key, text in axes.items())
        return f"{self.train_on} with masks drawn on the fly{settings}"

    @property
    def label(self) -> str:
        """The display name: backbone, recipe, training set and the other axes that differ."""
        return " · ".join((self.backbone, self.recipe, self.train_on,
                           *(f"{key if key in self.full else key.split('.')[-1]}={value}"
                             for key, value in self.axes if key not in self.shared)))


def configurations(runs: Sequence[ReportRun], drawn_masks: bool | None = False
                   ) -> tuple[Config, ...]:
    """Return `runs` grouped by configuration, in the order of the runs.

    Args:
        drawn_masks: whether the study draws masks on the fly in every run; None: as their recipes
            do.
    """
    groups: dict[str, list[ReportRun]] = {}
    for run in runs:
        groups.setdefault(run.config_id, []).append(run)
    # a parent run that is not part of the grid has no axes
    placed = [group[0].axes for group in groups.values() if group[0].axes]
    keys = {key for axes in placed for key in axes}
    shared = frozenset(key for key in keys if len({axes.get(key) for axes in placed}) == 1)
    words = Counter(key.split(".")[-1] for key in keys)
    full = frozenset(key for key in keys if words[key.split(".")[-1]] > 1)
    return tuple(Config(key, group[0].backbone, group[0].recipe, group[0].train_on,
                        tuple(sorted(group[0].axes.items())), tuple(group), shared, full,
                        _recipe_draws(group[0].recipe) if drawn_masks is None else drawn_masks)
                 for key, group in groups.items())


def _recipe_draws(recipe: str) -> bool:
    return any(map(is_mask_key, default_keys(recipe)))
