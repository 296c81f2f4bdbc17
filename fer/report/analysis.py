"""The statistics of a study: each configuration on each test set, and its gap.

Comparisons between configurations are in `fer.report.comparisons`, sentences about them in
`fer.report.summary`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fer.config.study import GapPair, Study
from fer.evaluate.intervals import Interval
from fer.evaluate.person_tables import Tables, tabulate
from fer.evaluate.study_scores import Sets, StudyScores
from fer.report.configurations import Config, configurations, is_mask_key
from fer.report.gaps import NET, REAL, Gaps, gaps_of
from fer.report.read.load_results import LoadedResults, Measured

NO_INTERVAL = "no predictions, no interval"
PLAIN = ("nll", "ece", "brier", "auroc")


@dataclass(frozen=True)
class Cell:
    """One configuration on one test set.

    Attributes:
        metrics: uar, accuracy, macro_f1, recall:CLASS -> mean over seeds with its interval.
        plain: nll, ece, brier, auroc -> mean over seeds; metrics missing in old results are left
            out.
        soft: nll, brier, ece_debiased -> the same with intervals; empty without predictions. The
            debiased calibration error is the root of the mean square over bins.
        confusion: int64, C x C, summed over seeds; rows true.
        tables: the predictions image by image; None without predictions.
        n: number of images. seeds: the seeds included.
    """

    config: Config
    split: str
    metrics: dict[str, Interval]
    plain: dict[str, float]
    soft: dict[str, Interval]
    confusion: np.ndarray
    tables: Tables | None
    n: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Analysis:
    """All cells of a study, keyed by (config_id, split), and the gaps on each real set.

    `pairs` are the gap's synthetic and real sets, the main ones first, `gaps_on` the gaps by real
    set, config_id and metric. `scores` has the contrasts of all configurations with predictions,
    `labels` the names in words of values of grid keys.
    """

    configs: tuple[Config, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    pairs: tuple[GapPair, ...]
    gaps_on: dict[str, Gaps]
    scores: StudyScores
    problems: tuple[str, ...]
    labels: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def words(self, key: str, value: str) -> str:
        """Return the value of a grid key in words, with its name in brackets."""
        parts = value.split("+") if key == "train_on" else [value]
        found = [self.labels.get((key, part), part) for part in parts]
        return value if found == parts else f"{' and '.join(found)} ({value})"

    @property
    def gap(self) -> GapPair | None:
        """The main gap; None if the study has none."""
        return self.pairs[0] if self.pairs else None

    @property
    def gaps(self) -> Gaps:
        """The main gap of each configuration, by config_id and metric."""
        return self.gaps_on.get(self.gap.real, {}) if self.gap else {}

    def pair_of(self, split: str) -> GapPair | None:
        """Return the gap whose real set this is."""
        return next((pair for pair in self.pairs if pair.real == split), None)

    def controlled(self, pair: GapPair | None) -> bool:
        """Whether the control splits of a gap are there and measured."""
        return bool(pair and pair.control and any(
            metric.endswith(NET) for found in self.gaps_on.get(pair.real, {}).values()
            for metric in found))

    def gap_noun(self, pair: GapPair) -> str:
        """Return `gap` only where people and cameras do not confound it."""
        same = pair == self.gap and self.same_people()
        return "gap" if same or self.controlled(pair) else "difference between the sets"

    def sets_of(self, pair: GapPair | None) -> Sets:
        """Return the signed test sets of a gap, net of its control where that was measured."""
        if pair is None:
            return []
        return pair.net_sets if self.controlled(pair) else pair.sets

    def gap_of(self, config_id: str, pair: GapPair) -> Interval | None:
        """Return the gap of a configuration in UAR, net of the control where there is one."""
        found = self.gaps_on.get(pair.real, {}).get(config_id, {})
        return found.get("uar" + NET if self.controlled(pair) else "uar")

    def mean(self, configs: Sequence[Config], sets: Sets, metric: str = "uar",
             classes: Sequence[str] = ()) -> Interval | None:
        """Return the mean over `configs` of a signed sum over sets; None if any lacks predictions.

        The configurations are fixed, not a sample: only people and seeds vary.
        """
        return self.scores.contrast({one.config_id: 1 / len(configs) for one in configs}, sets,
                                    metric, classes) if configs else None

    def same_people(self) -> bool:
        """Return whether both sets of the main gap show the same known people."""
        found = [next((cell.tables.people for (_, name), cell in self.cells.items()
                       if name == split and cell.tables), ())
                 for _, split in (self.gap.sets if self.gap else ())]
        return len(found) == 2 and bool(found[0]) and found[0] == found[1]

    def measured_splits(self) -> list[str]:
        """Return the test sets with results, in the order of the study."""
        return [split for split in self.splits if any(key[1] == split for key in self.cells)]

    def shown_splits(self) -> list[str]:
        """Return the measured test sets without the controls, which the gaps have in them."""
        controls = {split for pair in self.pairs if self.controlled(pair)
                    for split in pair.control or ()}
        return [split for split in self.measured_splits() if split not in controls]

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
        roles = {pair.real: REAL for pair in self.pairs}
        roles |= {pair.synthetic: "synthetic masks" for pair in self.pairs}
        return f"{roles[split]} ({split})" if split in roles else split


def analyse(study: Study, gathered: LoadedResults) -> Analysis:
    """Return the intervals of every configuration on every test set, and the gaps."""
    said = [value for key, value in study.set.items() if is_mask_key(key)]
    drawn = any(value is not None for value in said) if said else None
    configs, problems = configurations(gathered.runs, drawn), list(gathered.problems)
    measured: dict[tuple[str, str], dict[int, Measured]] = {}
    for config in configs:
        for split in gathered.splits:
            found = {run.seed: gathered.measured[run.run, split] for run in reversed(config.runs)
                     if (run.run, split) in gathered.measured}
            if found:
                measured[config.config_id, split] = _with_predictions(found)
        if len({run.seed for run in config.runs}) < len(config.runs):
            problems.append(f"{config.label}: duplicate seed; its first run is used")
    scores = StudyScores({key: tabulate(tables) for key, found in measured.items()
                          if (tables := {seed: one.predictions for seed, one in found.items()
                                         if one.predictions is not None})})
    by_id = {config.config_id: config for config in configs}
    cells = {(name, split): _cell(by_id[name], split, found, scores)
             for (name, split), found in measured.items()}
    pairs = study.gap.pairs if study.gap else ()
    gaps = {pair.real: gaps_of(pair, [config.config_id for config in configs], scores)
            for pair in pairs}
    classes = next((cell_classes(one) for one in gathered.measured.values()), ())
    return Analysis(configs, gathered.splits, classes, cells, pairs, gaps, scores,
                    tuple(problems))


def cell_classes(one: Measured) -> tuple[str, ...]:
    """Return the class names of a result."""
    return tuple(one.metrics["classes"])


def _with_predictions(found: Mapping[int, Measured]) -> dict[int, Measured]:
    """Return the results by seed of one cell: those with predictions, or all if none have any."""
    return {seed: one for seed, one in found.items() if one.predictions is not None} or dict(found)


def _cell(config: Config, split: str, found: Mapping[int, Measured], scores: StudyScores) -> Cell:
    """Return one cell; `found` is keyed by seed, and all of its numbers come from these runs."""
    seeds = tuple(sorted(found))
    results = [found[seed].metrics for seed in seeds]
    tables = scores.tables.get((config.config_id, split))
    metrics, soft = _without_intervals(results), {}
    if tables is not None:
        names = ["uar", "accuracy", "macro_f1", *(f"recall:{name}" for name in tables.classes)]

        def score(name: str) -> Interval | None:
            return scores.contrast({config.config_id: 1}, [(1, split)], name)

        metrics = {name: score(name) or _absent(metrics["uar"]) for name in names}
        soft = {name: one for name in ("nll", "brier", "ece_debiased") if (one := score(name))}
        soft["ece_debiased"] = soft["ece_debiased"].rooted()
    return Cell(
        config, split, metrics,
        plain={name: float(np.mean([one[name] for one in results])) for name in PLAIN
               if all(one.get(name) is not None for one in results)},
        soft=soft, confusion=np.sum([one["confusion"] for one in results], axis=0),
        tables=tables, n=int(results[0]["n"]), seeds=seeds)


def _absent(like: Interval) -> Interval:
    """Return the recall of a class that the test set has no picture of."""
    return replace(like, value=None, low=None, high=None)


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

