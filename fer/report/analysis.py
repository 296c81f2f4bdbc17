"""The statistics of a study: each configuration on each test set, and its gap.

A configuration is a run without its seed; nothing else is pooled. Comparisons between
configurations are in `fer.report.comparisons`, sentences about them in `fer.report.summary`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fer.config.study import Control, Gap, Study
from fer.evaluate.bootstrap import Draws, Tables, average, difference, draw, tabulate
from fer.evaluate.intervals import TEST_SAMPLING, Interval, interval_of
from fer.report.read.load_results import LoadedResults, Measured
from fer.report.read.run_files import ReportRun

NO_INTERVAL = "no predictions, no interval"
NET = ", net of control"  # suffix of a gap's metric after subtracting the control gap
AT_PRIOR = ", at the real set's class shares"  # suffix after reweighting both sets' classes
PLAIN = ("nll", "ece", "brier", "auroc")
FEW_PICTURES = 30  # below, percentile intervals are unreliable and nothing is ranked


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

    @property
    def label(self) -> str:
        """The display name: backbone, recipe, training set and the other axes that differ."""
        return " · ".join((self.backbone, self.recipe, self.train_on,
                           *(f"{key if key in self.full else key.split('.')[-1]}={value}"
                             for key, value in self.axes if key not in self.shared)))


@dataclass(frozen=True)
class Cell:
    """One configuration on one test set.

    Attributes:
        metrics: uar, accuracy, macro_f1, recall:CLASS -> mean over seeds with its interval.
        plain: nll, ece, brier, auroc -> mean over seeds; metrics missing in old results are left
            out.
        confusion: int64, C x C, summed over seeds; rows true.
        draws: the resamples, for differences; None without predictions.
        tables: the predictions image by image; None without predictions.
        n: number of images. seeds: the seeds included.
    """

    config: Config
    split: str
    metrics: dict[str, Interval]
    plain: dict[str, float]
    confusion: np.ndarray
    draws: Draws | None
    tables: Tables | None
    n: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Analysis:
    """All cells of a study, keyed by (config_id, split), and gaps by config_id, then metric."""

    configs: tuple[Config, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    gap: Gap | None
    gaps: dict[str, dict[str, Interval]]
    problems: tuple[str, ...]

    def measured_splits(self) -> list[str]:
        """Return the test sets with results, in the order of the study."""
        return [split for split in self.splits if any(key[1] == split for key in self.cells)]

    def main_split(self) -> str:
        """Return the main test set: the real one if it has results, else the last one that has.

        There must be at least one.
        """
        measured = self.measured_splits()
        real = self.gap.real if self.gap else ""
        return real if real in measured else measured[-1]

    def main_score(self, config: Config) -> float:
        """Return a configuration's UAR on the main test set; -1 if it has none."""
        cell = self.cells.get((config.config_id, self.main_split()))
        value = cell.metrics["uar"].value if cell else None
        return -1.0 if value is None else value

    def role(self, split: str) -> str:
        """Return the test set's name with its role in the study's gap."""
        roles = {} if self.gap is None else {self.gap.synthetic: "synthetic masks",
                                             self.gap.real: "real masks"}
        return f"{roles[split]} ({split})" if split in roles else split


def configurations(runs: Sequence[ReportRun]) -> tuple[Config, ...]:
    """Return `runs` grouped by configuration, in the order of the runs."""
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
                        tuple(sorted(group[0].axes.items())), tuple(group), shared, full)
                 for key, group in groups.items())


def analyse(study: Study, gathered: LoadedResults) -> Analysis:
    """Return the intervals of every configuration on every test set, and the gaps."""
    configs, problems = configurations(gathered.runs), list(gathered.problems)
    cells: dict[tuple[str, str], Cell] = {}
    for config in configs:
        for split in gathered.splits:
            found = {run.seed: gathered.measured[run.run, split] for run in reversed(config.runs)
                     if (run.run, split) in gathered.measured}
            if found:
                cells[config.config_id, split] = _cell(config, split, found)
        if len({run.seed for run in config.runs}) < len(config.runs):
            problems.append(f"{config.label}: duplicate seed; its first run is used")
    problems += _warnings(cells)
    problems += _nearly_paired(study.gap, cells)
    gaps = {config.config_id: gap for config in configs
            if (gap := _gap(study.gap, config, cells)) is not None}
    classes = next((cell_classes(one) for one in gathered.measured.values()), ())
    return Analysis(configs, gathered.splits, classes, cells, study.gap, gaps, tuple(problems))


def cell_classes(one: Measured) -> tuple[str, ...]:
    """Return the class names of a result."""
    return tuple(one.metrics["classes"])


def over_configs(analysis: Analysis, configs: Sequence[Config], split: str) -> Draws | None:
    """Return the mean over `configs` on `split`, seed by seed; None if any has no predictions."""
    draws = []
    for config in configs:
        cell = analysis.cells.get((config.config_id, split))
        if cell is None or cell.draws is None:
            return None
        draws.append(cell.draws)
    seeds = set.intersection(*(set(one.seeds) for one in draws)) if draws else set()
    return average(draws) if seeds else None


def _cell(config: Config, split: str, found: Mapping[int, Measured]) -> Cell:
    """Return one cell; `found` is keyed by seed.

    All of its numbers come from the same runs: those with predictions, or all if none have any.
    """
    tables = {seed: one.predictions for seed, one in found.items() if one.predictions is not None}
    seeds = tuple(sorted(tables or found))
    results = [found[seed].metrics for seed in seeds]
    draws, counted, metrics = None, None, _without_intervals(results)
    if tables:
        counted = tabulate(tables)
        draws = draw(counted)
        metrics = {name: interval_of(draws, name) for name in draws.observed}
    return Cell(
        config, split, metrics,
        plain={name: float(np.mean([one[name] for one in results])) for name in PLAIN
               if all(one.get(name) is not None for one in results)},
        confusion=np.sum([one["confusion"] for one in results], axis=0),
        draws=draws, tables=counted, n=int(results[0]["n"]), seeds=seeds)


def _without_intervals(results: Sequence[dict]) -> dict[str, Interval]:
    """Return the means over seeds from results alone, without predictions."""
    sizes = {"seeds": len(results), "n": (int(results[0]["n"]),), "people": ()}
    means = {name: float(np.mean([one[name] for one in results]))
             for name in ("uar", "accuracy", "macro_f1")}
    recalls = {f"recall:{name}": None if value is None else float(
        np.mean([one["recall"][name] for one in results]))
        for name, value in results[0]["recall"].items()}
    return {name: Interval(value, None, None, NO_INTERVAL, **sizes)  # type: ignore[arg-type]
            for name, value in (means | recalls).items()}


def _gap(gap: Gap | None, config: Config,
         cells: Mapping[tuple[str, str], Cell]) -> dict[str, Interval] | None:
    """Return synthetic minus real of `config`, in UAR and in recall per class.

    Accuracy and macro-F1 depend on class proportions, which differ between the sets, so they are
    reweighted to those of the real set. With a control, UAR and recall net of it are added, as in
    `uar, net of control`.
    """
    if gap is None:
        return None

    def draws(split: str) -> Draws | None:
        cell = cells.get((config.config_id, split))
        return cell.draws if cell else None

    apart = gap_draws(draws(gap.synthetic), draws(gap.real))
    if apart is None:
        return None
    found = {name: interval_of(apart, name) for name in apart.observed
             if name == "uar" or name.startswith("recall:")}
    found |= _at_one_prior(*(cells[config.config_id, split].tables
                             for split in (gap.synthetic, gap.real)))
    control = gap.control and gap_draws(draws(gap.control.synthetic), draws(gap.control.real))
    net = gap_draws(apart, control) if control else None
    if net is None:
        return found
    return found | {name + NET: interval_of(net, name) for name in found if AT_PRIOR not in name}


def _at_one_prior(synthetic: Tables | None, real: Tables | None) -> dict[str, Interval]:
    """Return the gaps in accuracy and macro-F1 at the class proportions of the real set."""
    assert synthetic is not None and real is not None, "there are resamples of both"
    prior = np.bincount(real.labels, minlength=len(real.classes)) / real.n
    apart = difference(draw(synthetic, prior=prior), draw(real, prior=prior))
    return {name + AT_PRIOR: interval_of(apart, name) for name in ("accuracy", "macro_f1")}


def gap_draws(left: Draws | None, right: Draws | None) -> Draws | None:
    """Return the difference of two draws; None if one is missing or they share no seed."""
    if left is None or right is None or not set(left.seeds) & set(right.seeds):
        return None
    return difference(left, right)


def _warnings(cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """Return the warnings about test sets."""
    lines: dict[str, None] = {}
    for (_, split), cell in cells.items():
        if cell.n < FEW_PICTURES:
            lines[f"{split}: n = {cell.n} pictures, too few for a reliable interval; nothing is "
                  "ranked on it"] = None
        absent = [name.split(":")[1] for name, one in cell.metrics.items()
                  if name.startswith("recall:") and one.value is None]
        if absent:
            lines[f"{split}: no picture of class {', '.join(absent)}; UAR and macro-F1 are over "
                  "the other classes"] = None
        if cell.draws is not None and cell.draws.people[0] < 2:
            lines[f"{split}: pictures of one person only, so there is no interval"] = None
    return list(lines)


def _nearly_paired(gap: Gap | None, cells: Mapping[tuple[str, str], Cell]) -> list[str]:
    """Return a warning for each pair of gap sets that share some, but not all, people.

    Resamples are a function of the set of people, so such sets are resampled independently.
    """
    pairs: list[Gap | Control] = [one for one in (gap, gap and gap.control) if one]
    people = {split: set(cell.tables.people) for (_, split), cell in cells.items() if cell.tables}
    lines = []
    for one in pairs:
        left, right = (people.get(split, set()) for split in (one.synthetic, one.real))
        if left & right and left != right:
            lines.append(f"{one.synthetic} and {one.real} have {len(left & right)} of "
                         f"{len(left | right)} people in common, but are resampled independently, "
                         "so the interval of their difference is wider than necessary")
    return lines


def kinds(intervals: Sequence[Interval]) -> list[str]:
    """Return the distinct kinds of `intervals`, test sampling first."""
    return sorted({one.kind for one in intervals}, key=lambda kind: (kind != TEST_SAMPLING, kind))
