"""What is on disk of a study's runs, and what is wrong with it.

Reads `results/*.json` and `predictions/*.parquet` through a memory. What is missing is left out,
what is damaged or not comparable is left out and said. Not for statistics (`fer.report.analysis`).
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fer.config.study import Study
from fer.evaluate.ensembles import hold_probabilities
from fer.evaluate.metrics import confusion
from fer.evaluate.predictions import DamagedFile, Predictions, predictions_path
from fer.gc_pause import gc_paused
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun, read_result

LEFT_OUT = "left out of means and intervals, unless no seed has predictions"




@dataclass(frozen=True)
class Measured:
    """One run on one test set: its metrics, and its predictions where they can be read."""

    run: ReportRun
    split: str
    digest: str
    metrics: dict[str, Any]
    predictions: Predictions | None


@dataclass(frozen=True)
class LoadedResults:
    """Everything comparable that a study's runs have on disk.

    Attributes:
        runs: all runs of the study, sorted by what they are.
        splits: test sets in the order of the study.
        measured: run name, split -> what was measured.
        validation: run name -> predictions on its validation split, where there are any.
        problems: one line each, sorted by run.
    """

    runs: tuple[ReportRun, ...]
    splits: tuple[str, ...]
    measured: dict[tuple[str, str], Measured]
    validation: dict[str, Predictions]
    problems: tuple[str, ...]

    def on(self, split: str) -> list[Measured]:
        """Return what was measured on `split`, in the order of the runs."""
        return [self.measured[run.run, split] for run in self.runs
                if (run.run, split) in self.measured]


def load_results(study: Study, runs: Sequence[ReportRun], memory: ReportCache) -> LoadedResults:
    """Return what `runs` have on disk for the test sets of `study`."""
    found = load_metrics(study, runs, memory)
    problems, measured = list(found.problems), dict(found.measured)
    for split in found.splits:
        for one in _with_predictions(found.on(split), split, memory, problems):
            measured[one.run.run, split] = one
    validation = {run.run: table for run in found.runs
                  if (table := _validation(run, memory, problems)) is not None}
    return LoadedResults(found.runs, found.splits, measured, validation, tuple(problems))


def load_metrics(study: Study, runs: Sequence[ReportRun], memory: ReportCache) -> LoadedResults:
    """Return the same without predictions: the metrics of thousands of runs in a second or two."""
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
    """Return what was measured with the classes of most test sets; the rest is said."""
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
    """Return what `run` says about `split`; a damaged file is a line in `problems`."""
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
    """Return the predictions that the best checkpoint made on validation, if they are there.

    What is there and cannot be used is a line in `problems`.
    """
    name = f"predictions/{run.train_on}/val.parquet"
    try:
        table = memory.table(predictions_path(run.folder, f"{run.train_on}/val"))
    except FileNotFoundError:
        return None
    except (OSError, DamagedFile):
        problems.append(f"{run.run}: {name}: cannot be read; no part of a greedy ensemble")
        return None
    if hold_probabilities(table):
        problems.append(f"{run.run}: {name} holds probabilities, not logits; no part of a greedy "
                        "ensemble")
        return None
    return table


def _read_predictions(run: ReportRun, split: str, result: dict[str, Any], memory: ReportCache,
                      problems: list[str]) -> Predictions | None:
    """Return the predictions behind `result`, if they are there and agree with it."""
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
                        f"{LEFT_OUT}; no part of ensembles")
        return None
    counts = confusion(table.labels, table.predicted, len(table.classes))
    if list(table.classes) != result["classes"] or counts.tolist() != result["confusion"]:
        problems.append(f"{run.run}: results and predictions on {split} disagree; "
                        f"{LEFT_OUT}")
        return None
    return table


def _comparable(found: Sequence[Measured], split: str, problems: list[str]) -> Iterable[Measured]:
    """Yield those of `found` that were measured on the test set that most were measured on."""
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
                f"{one.run.run}: {split} was another test set then (digest {one.digest[:12]}, "
                f"most runs have {chosen[0][:12]}); not compared")


def _with_predictions(found: Sequence[Measured], split: str, memory: ReportCache,
                      problems: list[str]) -> Iterable[Measured]:
    """Yield `found` with their predictions where these are of the pictures that all have."""
    pictures: list[str] | None = None
    known: dict[int, list[str]] = {}  # tables of one memory share their list of pictures
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
            problems.append(f"{one.run.run}: predictions on {split} are of other pictures "
                            f"than those of the other runs; {LEFT_OUT}")


def _fingerprint(table: Predictions) -> list[str]:
    order = np.argsort(np.array(table.sample_ids, dtype=object))
    return [f"{table.sample_ids[i]}\x1f{table.labels[i]}\x1f{table.identities[i]}" for i in order]
