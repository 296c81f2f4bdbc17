"""What is on disk of a study's runs, and what is wrong with it.

Reads `results/*.json` and `predictions/*.parquet`. What is missing is left out, what is damaged
or not comparable is left out and said. Not for statistics (`fer.report.analyse`).
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer.config.study import Study
from fer.evaluate.metrics import RESULT_SCHEMA, confusion, result_path
from fer.evaluate.predictions import (
    DamagedFile,
    Predictions,
    predictions_path,
    read_predictions,
)
from fer.publish import read_json

NEEDED = ("n", "accuracy", "macro_f1", "uar", "nll", "ece", "recall", "precision", "support",
          "confusion", "classes")


@dataclass(frozen=True)
class ReportRun:
    """One run of a study, as the report needs to know it.

    Attributes:
        run: folder name. folder: where it is.
        run_id, config_id: with and without the seed.
        state: as in `status.json`; error: message and traceback of a failure.
        axes: the other grid keys and their values.
    """

    run: str
    run_id: str
    config_id: str
    backbone: str
    recipe: str
    train_on: str
    seed: int
    folder: Path
    state: str
    error: str | None = None
    axes: dict[str, str] = field(default_factory=dict)

    def value(self, key: str) -> str | None:
        """Return the value of grid key `key`, if it is one."""
        if key in ("backbone", "recipe", "train_on", "seed"):
            return str(getattr(self, key))
        return self.axes.get(key)


@dataclass(frozen=True)
class Measured:
    """One run on one test set: its metrics, and its predictions where they can be read."""

    run: ReportRun
    split: str
    digest: str
    metrics: dict[str, Any]
    predictions: Predictions | None


@dataclass(frozen=True)
class Gathered:
    """Everything comparable that a study's runs have on disk.

    Attributes:
        runs: all runs of the study, sorted by what they are.
        splits: test sets in the order of the study.
        measured: run name, split -> what was measured.
        problems: one line each, sorted by run.
    """

    runs: tuple[ReportRun, ...]
    splits: tuple[str, ...]
    measured: dict[tuple[str, str], Measured]
    problems: tuple[str, ...]

    def on(self, split: str) -> list[Measured]:
        """Return what was measured on `split`, in the order of the runs."""
        return [self.measured[run.run, split] for run in self.runs
                if (run.run, split) in self.measured]


def gather(study: Study, runs: Sequence[ReportRun]) -> Gathered:
    """Return what `runs` have on disk for the test sets of `study`."""
    ordered = tuple(sorted(runs, key=_order))
    splits = tuple(dict.fromkeys(study.evaluate_on))
    problems: list[str] = []
    measured: dict[tuple[str, str], Measured] = {}
    for split in splits:
        found = [one for run in ordered if (one := _read(run, split, problems)) is not None]
        measured |= {(one.run.run, split): one for one in _comparable(found, split, problems)}
    return Gathered(ordered, splits, measured, tuple(problems))


def _order(run: ReportRun) -> tuple[Any, ...]:
    return (run.backbone, run.recipe, run.train_on, tuple(sorted(run.axes.items())),
            run.config_id, run.seed, run.run)


def _read(run: ReportRun, split: str, problems: list[str]) -> Measured | None:
    """Return what `run` says about `split`; a damaged file is a line in `problems`."""
    try:
        content = read_json(result_path(run.folder, split))
        fault = _fault(content)
    except FileNotFoundError:
        if run.state == "done":
            problems.append(f"{run.run}: trained, but has no result on {split}")
        return None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        fault = f"not readable ({error})"
    if fault:
        problems.append(f"{run.run}: results/{split}.json: {fault}; left out")
        return None
    predictions = _read_predictions(run, split, content, problems)
    return Measured(run, split, str(content["digest"]), content, predictions)


def _fault(content: Any) -> str | None:
    """Return why `content` is no result of ours, if so."""
    if not isinstance(content, dict) or content.get("schema") != RESULT_SCHEMA:
        return f"not a result of schema {RESULT_SCHEMA}"
    missing = [key for key in ("digest", *NEEDED) if key not in content]
    if missing:
        return f"has no {', '.join(missing)}"
    numbers = [content[key] for key in ("n", "accuracy", "macro_f1", "uar", "nll", "ece")]
    if not all(isinstance(number, int | float) for number in numbers):
        return "a metric is not a number"
    return None


def _read_predictions(run: ReportRun, split: str, result: dict[str, Any],
                      problems: list[str]) -> Predictions | None:
    """Return the predictions behind `result`, if they are there and agree with it."""
    try:
        table = read_predictions(predictions_path(run.folder, split))
    except FileNotFoundError:
        problems.append(f"{run.run}: no predictions on {split}; left out of the intervals")
        return None
    except DamagedFile as error:
        short = str(error).replace(f"{run.folder}/", "")
        problems.append(f"{run.run}: {short}; left out of the intervals")
        return None
    counts = confusion(table.labels, table.predicted, len(table.classes))
    if list(table.classes) != result["classes"] or counts.tolist() != result["confusion"]:
        problems.append(f"{run.run}: results and predictions on {split} disagree; "
                        "left out of the intervals")
        return None
    return table


def _comparable(found: Sequence[Measured], split: str, problems: list[str]) -> Iterable[Measured]:
    """Yield those of `found` that were measured on the test set that most were measured on."""
    if not found:
        return
    keys = Counter((one.digest, tuple(one.metrics["classes"])) for one in found)
    chosen = min(keys, key=lambda key: (-keys[key], key))
    pictures: list[str] | None = None
    for one in found:
        if (one.digest, tuple(one.metrics["classes"])) != chosen:
            problems.append(
                f"{one.run.run}: {split} was another test set then (digest {one.digest[:12]}, "
                f"most runs have {chosen[0][:12]}); not compared")
            continue
        if one.predictions is not None:
            ids = _fingerprint(one.predictions)
            pictures = pictures or ids
            if ids != pictures:
                problems.append(f"{one.run.run}: predictions on {split} are of other pictures "
                                "than those of the other runs; left out of the intervals")
                one = replace(one, predictions=None)
        yield one


def _fingerprint(table: Predictions) -> list[str]:
    order = np.argsort(np.array(table.sample_ids, dtype=object))
    return [f"{table.sample_ids[i]}\x1f{table.labels[i]}\x1f{table.identities[i]}" for i in order]
