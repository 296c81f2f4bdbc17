"""Ensembles of a study's trained runs, computed from their saved predictions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fer.evaluate.ensembles import greedy, mean_of
from fer.evaluate.intervals import Interval
from fer.evaluate.metrics import soft_scores
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions
from fer.evaluate.study_scores import StudyScores
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.formatting import count
from fer.report.read.load_results import LoadedResults
from fer.report.read.run_files import ReportRun

MOST_NAMED = 6  # runs named in a note
SEEDS, ALL, GREEDY = "its seeds", "all runs", "greedy on validation"


@dataclass(frozen=True)
class Ensemble:
    """Several runs whose probabilities are averaged.

    Attributes:
        name: what it combines; how: `its seeds`, `all runs` or `greedy on validation`.
        config: the configuration whose seeds it combines; None for several configurations.
        train_on: training set of its members.
        members: run names, repeated according to their weight.
        plain: split -> nll, brier, ece, auroc.
        metrics: split -> uar, accuracy, … with intervals of this ensemble, not of others like it.
        soft: split -> nll, brier, ece_debiased with intervals.
        gaps: real set -> gap in UAR.
    """

    name: str
    how: str
    config: Config | None
    train_on: str
    members: tuple[str, ...]
    metrics: dict[str, dict[str, Interval]]
    soft: dict[str, dict[str, Interval]]
    plain: dict[str, dict[str, float | None]]
    gaps: dict[str, Interval]


def ensembles(gathered: LoadedResults, analysis: Analysis) -> tuple[list[Ensemble], list[str]]:
    """Return the ensembles of a study, and notes on excluded runs."""
    found, notes = [], []
    if left := [run.run for run in gathered.runs if _lacks_predictions(run, gathered)]:
        notes.append(f"ensembles exclude {len(left)} of {count(len(gathered.runs), 'run')} for "
                     f"lack of predictions on a test set: {', '.join(left[:MOST_NAMED])}"
                     + (" and more" if len(left) > MOST_NAMED else ""))
    for config in analysis.configs:
        runs = [run for run in config.runs if _was_measured(run, gathered)]
        one = _ensemble(config.label, SEEDS, runs, gathered, analysis)
        found += [replace(one, config=config)] if one else []
    by_set: dict[str, list[ReportRun]] = {}
    for run in gathered.runs:
        if _was_measured(run, gathered):
            by_set.setdefault(run.train_on, []).append(run)
    for name, runs in by_set.items():
        found += [one for one in [_ensemble(f"trained on {name}", ALL, runs, gathered, analysis)]
                  if one and len({run.config_id for run in runs}) > 1]
        chosen, note = _greedy(name, runs, gathered)
        if note:
            notes.append(note)
        if len(set(chosen)) > 1:
            members = [next(run for run in runs if run.run == member) for member in chosen]
            found += [one for one in [_ensemble(f"trained on {name}", GREEDY, members, gathered,
                                                analysis)] if one]
    return found, notes


def _was_measured(run: ReportRun, gathered: LoadedResults) -> bool:
    """Return whether a run has predictions on every test set that it has results on."""
    found = [one for split in gathered.splits if (one := gathered.measured.get((run.run, split)))]
    return bool(found) and all(one.predictions is not None for one in found)


def _lacks_predictions(run: ReportRun, gathered: LoadedResults) -> bool:
    has_results = any((run.run, split) in gathered.measured for split in gathered.splits)
    return has_results and not _was_measured(run, gathered)


def _greedy(name: str, runs: Sequence[ReportRun], gathered: LoadedResults) -> tuple[list[str], str]:
    """Return the run names that greedy selection chooses, and a note on excluded runs."""
    tables = {run.run: gathered.validation[run.run] for run in runs
              if run.run in gathered.validation}
    if len(runs) < 2:
        return [], ""
    if len(tables) < 2:
        return [], (f"trained on {name}: no greedy ensemble, because fewer than two runs have "
                    "validation predictions")
    kind_of = {run: (*_kind(table), gathered.drawn.get(run, "")) for run, table in tables.items()}
    kinds = Counter(kind_of.values())
    most = max(kinds, key=lambda kind: kinds[kind])
    usable = {run: table for run, table in tables.items() if kind_of[run] == most}
    left, without = len(tables) - len(usable), len(runs) - len(tables)
    chosen = greedy(usable)
    notes = [f"the greedy ensemble excludes {left} of {len(tables)} runs for having other "
             "validation pictures"] if left else []
    notes += [f"the greedy ensemble excludes {without} of {len(runs)} runs for lack of validation "
              "predictions"] if without else []
    notes += [f"greedy selection chose a single run, {chosen[0]}, so there is no ensemble"
              ] if len(set(chosen)) == 1 else []
    return chosen, f"trained on {name}: {'; '.join(notes)}" if notes else ""


def _kind(table: Predictions) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return what tables must share to be averaged: images and classes."""
    return frozenset(table.sample_ids), table.classes


def _ensemble(name: str, how: str, runs: Sequence[ReportRun], gathered: LoadedResults,
              analysis: Analysis) -> Ensemble | None:
    """Return an ensemble on the test sets that all members have predictions on.

    None if there is no such test set or only one member.
    """
    means: dict[str, Predictions] = {}
    for split in gathered.splits:
        tables = _tables(runs, split, gathered)
        if len(tables) == len(runs) > 1:
            means[split] = mean_of(tables)
    if not means:
        return None
    scores = StudyScores({(name, split): tabulate({0: one}) for split, one in means.items()})

    def known(split: str, names: Sequence[str]) -> dict[str, Interval]:
        found = {metric: scores.contrast({name: 1}, [(1, split)], metric) for metric in names}
        return {metric: one for metric, one in found.items() if one is not None}

    hard = ["uar", "accuracy", "macro_f1", *(f"recall:{one}" for one in analysis.classes)]
    soft = {split: known(split, ["nll", "brier", "ece_debiased"]) for split in means}
    return Ensemble(
        name, how, None, runs[0].train_on,
        tuple(member for run in runs for member in run.members or (run.run,)),
        {split: known(split, hard) for split in means},
        {split: one | {"ece_debiased": one["ece_debiased"].rooted()}
         for split, one in soft.items()},
        {split: soft_scores(one.labels, one.logits) for split, one in means.items()},
        {pair.real: one for pair in analysis.pairs
         if (one := scores.contrast({name: 1}, analysis.sets_of(pair)))})


def _tables(runs: Sequence[ReportRun], split: str, gathered: LoadedResults) -> list[Predictions]:
    found = [gathered.measured.get((run.run, split)) for run in runs]
    return [one.predictions for one in found if one is not None and one.predictions is not None]
