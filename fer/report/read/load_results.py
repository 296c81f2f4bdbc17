"""The results of a study's runs on disk, and problems with them.

Reads `results/*.json` and `predictions/*.parquet` through a cache. Missing files are left out;
damaged or incomparable ones are left out and reported. Statistics are in `fer.report.analysis`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fer.config.study import Study
from fer.evaluate.ensembles import hold_probabilities
from fer.evaluate.metrics import confusion, mean_nll
from fer.evaluate.predictions import DamagedFile, Predictions, predictions_path
from fer.gc_pause import gc_paused
from fer.report.read.provenance import environment_of_run
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun, read_result

SAME_NLL = 1e-4  # the NLL stands for a digest of the logits, which old results have not
LEFT_OUT = "left out of means and intervals, unless no seed has predictions"


@dataclass(frozen=True)
class Measured:
    """One run on one test set: its metrics, and its predictions if they are readable."""

    run: ReportRun
    split: str
    digest: str
    metrics: dict[str, Any]
    predictions: Predictions | None


@dataclass(frozen=True)
class LoadedResults:
    """All comparable results of a study's runs on disk.

    Attributes:
        runs: all runs of the study, sorted by configuration and seed.
        splits: test sets in the order of the study.
        measured: run name, split -> results.
        validation: run name -> predictions on its validation split, if any.
        drawn: run name -> what was drawn on its validation pictures, such as masks.
        problems: one line each, sorted by run.
    """

    runs: tuple[ReportRun, ...]
    splits: tuple[str, ...]
    measured: dict[tuple[str, str], Measured]
    validation: dict[str, Predictions]
    problems: tuple[str, ...]
    drawn: dict[str, str] = field(default_factory=dict)

    def on(self, split: str) -> list[Measured]:
        """Return the results on `split`, in the order of the runs."""
        return [self.measured[run.run, split] for run in self.runs
                if (run.run, split) in self.measured]


def load_results(study: Study, runs: Sequence[ReportRun], memory: ReportCache) -> LoadedResults:
    """Return the results and predictions of `runs` on the test sets of `study`."""
    found = load_metrics(study, runs, memory)
    problems, measured = list(found.problems), dict(found.measured)
    for split in found.splits:
        for one in _with_predictions(found.on(split), split, memory, problems):
            measured[one.run.run, split] = one
    validation = {run.run: table for run in found.runs
                  if (table := _validation(run, memory, problems)) is not None}
    drawn = {run.run: str(environment_of_run(run, memory).get("validation_drawn") or "")
             for run in found.runs if run.run in validation}
    return LoadedResults(found.runs, found.splits, measured, validation, tuple(problems), drawn)


def load_metrics(study: Study, runs: Sequence[ReportRun], memory: ReportCache) -> LoadedResults:
    """Return the results without predictions, a second or two for thousands of runs."""
    ordered = tuple(sorted(runs, key=_order))
    splits = tuple(dict.fromkeys(study.evaluate_on))
    problems: list[str] = []
    measured: dict[tuple[str, str], Measured] = {}
    with gc_paused():
        for split in splits:
            found = [one for run in ordered
                     if (one := _read(run, split, memory, problems)) is not None]
            measured |= {(one.run.run, split): one for one in _comparable(found, split, problems)}
    return LoadedResults(ordered, splits, _of_one_kind(measured, splits, problems), {},
                         tuple(problems))


def _of_one_kind(measured: dict[tuple[str, str], Measured], splits: Sequence[str],
                 problems: list[str]) -> dict[tuple[str, str], Measured]:
    """Return the results with the classes that most test sets have; report the others."""
    classes = {split: tuple(one.metrics["classes"]) for (_, split), one in measured.items()}
    if len(set(classes.values())) < 2:
        return measured
    kinds = Counter(classes.values())
    chosen = max(kinds, key=lambda kind: (kinds[kind], -list(classes.values()).index(kind)))
    problems += [f"{split}: has classes {', '.join(classes[split])}, other test sets "
                 f"{', '.join(chosen)}; left out" for split in splits
                 if classes.get(split, chosen) != chosen]
    return {key: one for key, one in measured.items() if classes[key[1]] == chosen}


def _order(run: ReportRun) -> tuple[Any, ...]:
    return (run.backbone, run.recipe, run.train_on, tuple(sorted(run.axes.items())),
            run.config_id, run.seed, run.run)


def _read(run: ReportRun, split: str, memory: ReportCache, problems: list[str]) -> Measured | None:
    """Return the result of `run` on `split`; a damaged file adds a line to `problems`."""
    content, fault = read_result(run.folder, split, memory)
    if content is None and not fault:
        if run.state == "done":
            problems.append(f"{run.run}: trained, but has no result on {split}")
        return None
    if content is None:
        problems.append(f"{run.run}: results/{split}.json: {fault}; left out")
        return None
    return Measured(run, split, str(content["digest"]), content, None)


def _validation(run: ReportRun, memory: ReportCache, problems: list[str]) -> Predictions | None:
    """Return the best checkpoint's predictions on validation, if they exist.

    Unusable predictions add a line to `problems`.
    """
    name = f"predictions/{run.train_on}/val.parquet"
    try:
        table = memory.table(predictions_path(run.folder, f"{run.train_on}/val"))
    except FileNotFoundError:
        return None
    except (OSError, DamagedFile):
        problems.append(f"{run.run}: {name}: cannot be read; not in a greedy ensemble")
        return None
    if hold_probabilities(table):
        problems.append(f"{run.run}: {name} holds probabilities, not logits; not in a greedy "
                        "ensemble")
        return None
    return table


def _read_predictions(run: ReportRun, split: str, result: dict[str, Any], memory: ReportCache,
                      problems: list[str]) -> Predictions | None:
    """Return the predictions behind `result`, if they exist and agree with it."""
    try:
        table = memory.table(predictions_path(run.folder, split))
    except FileNotFoundError:
        problems.append(f"{run.run}: no predictions on {split}; {LEFT_OUT}")
        return None
    except (DamagedFile, OSError) as error:
        short = str(error).replace(f"{run.folder}/", "")
        problems.append(f"{run.run}: {short}; {LEFT_OUT}")
        return None
    if hold_probabilities(table):
        problems.append(f"{run.run}: predictions on {split} hold probabilities, not logits; "
                        f"{LEFT_OUT}; not in ensembles")
        return None
    counts = confusion(table.labels, table.predicted, len(table.classes))
    if list(table.classes) != result["classes"] or counts.tolist() != result["confusion"]:
        problems.append(f"{run.run}: results and predictions on {split} disagree; "
                        f"{LEFT_OUT}")
        return None
    now, then = mean_nll(table.labels, table.logits), float(result["nll"])
    if abs(now - then) > SAME_NLL * (1 + then):
        problems.append(f"{run.run}: predictions on {split} have other logits than those that the "
                        f"results were measured on (NLL {now:.4f}, then {then:.4f}); {LEFT_OUT}")
        return None
    return table


def _comparable(found: Sequence[Measured], split: str, problems: list[str]) -> Iterable[Measured]:
    """Yield those of `found` whose test set is the one that most of them share."""
    if not found:
        return
    keys = Counter((one.digest, tuple(one.metrics["classes"])) for one in found)
    chosen = min(keys, key=lambda key: (-keys[key], key))
    for one in found:
        if (one.digest, tuple(one.metrics["classes"])) == chosen:
            yield one
        elif one.digest == chosen[0]:
            problems.append(f"{one.run.run}: has classes {', '.join(one.metrics['classes'])} on "
                            f"{split}, most runs have {', '.join(chosen[1])}; not compared")
        else:
            problems.append(
                f"{one.run.run}: {split} had different content then (digest {one.digest[:12]}, "
                f"most runs have {chosen[0][:12]}); not compared")


def _with_predictions(found: Sequence[Measured], split: str, memory: ReportCache,
                      problems: list[str]) -> Iterable[Measured]:
    """Yield `found` with their predictions, if these cover the same images as the first's."""
    pictures: list[str] | None = None
    known: dict[int, list[str]] = {}  # tables of one cache share their list of images
    for one in found:
        table = _read_predictions(one.run, split, one.metrics, memory, problems)
        if table is None:
            continue
        shared = id(table.sample_ids)
        ids = known[shared] = known.get(shared) or _fingerprint(table)
        pictures = pictures or ids
        if ids == pictures:
            yield replace(one, predictions=table)
        else:
            problems.append(f"{one.run.run}: predictions on {split} cover other pictures "
                            f"than those of the other runs; {LEFT_OUT}")


def _fingerprint(table: Predictions) -> list[str]:
    order = np.argsort(np.array(table.sample_ids, dtype=object))
    return [f"{table.sample_ids[i]}\x1f{table.labels[i]}\x1f{table.identities[i]}" for i in order]
