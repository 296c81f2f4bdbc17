"""Folds by person in a report: members of one ensemble, and their pooled validation.

The runs on all folds of one configuration and seed are one row of the tables: on a test set, the
mean of their probabilities; on validation, each picture as predicted by the run that was not
trained on that person (out of fold).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer.evaluate.calibration import best_temperature
from fer.evaluate.ensembles import mean_of
from fer.evaluate.intervals import Interval
from fer.evaluate.metrics import measure
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions, stacked
from fer.evaluate.study_scores import StudyScores
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.read.load_results import LoadedResults, Measured
from fer.report.read.run_files import ReportRun
from fer.report.table_model import Column, Listing, listing, number, scored, text

METRICS = ("uar", "accuracy", "macro_f1")


@dataclass(frozen=True)
class OutOfFold:
    """One configuration on all pictures of training and validation, each out of fold.

    Attributes:
        split: of its runs' validation, such as `lfw/val`.
        metrics: uar, accuracy, macro_f1 -> mean over seeds with its interval over people.
        temperature: that minimises the mean NLL of the pooled logits of all seeds.
    """

    config: Config
    split: str
    metrics: dict[str, Interval]
    temperature: float


def merge_folds(loaded: LoadedResults) -> tuple[LoadedResults, list[str]]:
    """Return results in which the folds of a configuration and seed are one run, and notes.

    That run is named after its first fold. A test set that some fold has no predictions on is left
    out for that seed, and so is a validation that some fold lacks.
    """
    groups: dict[tuple[str, int], list[ReportRun]] = {}
    for run in loaded.runs:
        if run.fold is not None:
            groups.setdefault((run.config_id, run.seed), []).append(run)
    if not groups:
        return loaded, []
    notes, runs = [], [run for run in loaded.runs if run.fold is None]
    measured = {key: one for key, one in loaded.measured.items() if one.run.fold is None}
    validation = {run.run: loaded.validation[run.run] for run in runs
                  if run.run in loaded.validation}
    for members in groups.values():
        members.sort(key=lambda run: run.fold or 0)
        one = replace(members[0], fold=None, members=tuple(run.run for run in members))
        runs.append(one)
        for split in loaded.splits:
            found = [loaded.measured[run.run, split] for run in members
                     if (run.run, split) in loaded.measured]
            if (merged := _merged(one, found)) is not None:
                measured[one.run, split] = merged
            elif found:
                notes.append(f"{one.recipe} on {one.train_on}, seed {one.seed}: {split} is left "
                             "out, since not all of its folds have predictions on it")
        tables = [loaded.validation[run.run] for run in members if run.run in loaded.validation]
        if len(members) < one.folds:
            notes.append(f"{one.recipe} on {one.train_on}, seed {one.seed}: {len(members)} of "
                         f"{one.folds} folds are in this study, so validation is not pooled")
        if (pooled := _pooled(tables, max(len(members), one.folds))) is not None:
            validation[one.run] = pooled
    place = {run.run: index for index, run in enumerate(loaded.runs)}
    runs.sort(key=lambda run: place[run.run])
    return replace(loaded, runs=tuple(runs), measured=measured, validation=validation,
                   problems=(*loaded.problems, *notes)), [said_of_folds(runs)]


def _merged(run: ReportRun, found: Sequence[Measured]) -> Measured | None:
    """Return the mean of the members on a test set; None unless all have predictions."""
    tables = [one.predictions for one in found if one.predictions is not None]
    if len(tables) < len(run.members) or len({one.digest for one in found}) > 1:
        return None
    try:
        mean = mean_of(tables)
    except ValueError:  # other pictures or classes
        return None
    return Measured(run, found[0].split, found[0].digest,
                    measure(mean.labels, mean.logits, mean.classes), mean)


def _pooled(tables: Sequence[Predictions], folds: int) -> Predictions | None:
    """Return what the models predict on their own folds; None unless all folds are there."""
    if len(tables) < folds:
        return None
    try:
        return stacked(tables)
    except ValueError:  # the data were assigned to folds anew meanwhile
        return None


def said_of_folds(runs: Sequence[ReportRun]) -> str:
    """Return what the tables show of runs on folds."""
    sizes = sorted({len(run.members) for run in runs if run.members})
    models = "–".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))) + " models"
    single = "; configurations without folds are single models, which is no fair comparison" if any(
        not run.members and run.axes for run in runs) else ""
    return (f"With train.folds each score is that of the mean of the probabilities of {models}, "
            "one a fold, each trained without the people of that fold: one seed is one such "
            f"ensemble, which usually scores higher than one of its models (results.csv){single}.")


def out_of_fold(gathered: LoadedResults, analysis: Analysis) -> tuple[OutOfFold, ...]:
    """Return the pooled out-of-fold scores of each configuration with all folds of some seed."""
    tables: dict[tuple[str, str], dict[int, Predictions]] = {}
    for config in analysis.configs:
        own = {run.seed: gathered.validation[run.run] for run in config.runs
               if run.members and run.run in gathered.validation}
        if own:
            tables[config.config_id, f"{config.train_on}/val"] = own
    scores = StudyScores({key: tabulate(own) for key, own in tables.items()})
    configs = {config.config_id: config for config in analysis.configs}
    found = []
    for (name, split), own in tables.items():
        metrics = {metric: one for metric in METRICS
                   if (one := scores.contrast({name: 1}, [(1, split)], metric)) is not None}
        labels = np.concatenate([table.labels for table in own.values()])
        logits = np.concatenate([table.logits for table in own.values()])
        found.append(OutOfFold(configs[name], split, metrics, best_temperature(labels, logits)))
    return tuple(found)


def fold_listing(found: Sequence[OutOfFold]) -> Listing:
    """Return the table of out-of-fold scores, the best first."""
    ranked = sorted(found, key=lambda one: -(one.metrics["uar"].value or 0.0))
    rows = [[text(one.config.label), *(scored(one.metrics.get(metric)) for metric in METRICS),
             number(one.temperature), number(one.metrics["uar"].n[0]),
             number(sum(one.metrics["uar"].people[:1]) or None), number(one.metrics["uar"].seeds)]
            for one in ranked]
    return listing(
        "Out of fold: every picture of training and validation as predicted by the one model that "
        "was not trained on that person, pooled over folds, mean over seeds, with 95 % intervals. "
        "These are single models, not ensembles, and this is validation: what was chosen by it "
        "scores too high here", [
            Column("configuration"), Column("UAR", number=True), Column("accuracy", number=True),
            Column("macro-F1", number=True), Column("temperature", "of least NLL", True),
            Column("n", number=True), Column("people", number=True), Column("seeds", number=True)],
        rows)


def fold_rows(study: str, found: Sequence[OutOfFold]) -> Iterable[Sequence[Any]]:
    """Yield the rows of out_of_fold.csv."""
    yield ("study", "config_id", "configuration", "validated_on", "seeds", "n", "people", "metric",
           "score", "low", "high", "temperature")
    for one in found:
        for metric, value in one.metrics.items():
            yield (study, one.config.config_id, one.config.label, one.split, value.seeds,
                   value.n[0], sum(value.people[:1]) or None, metric, value.value, value.low,
                   value.high, one.temperature)
