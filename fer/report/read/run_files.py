"""The files of a run that a report reads: its results and its learning curve (`metrics.jsonl`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any

import orjson

from fer.evaluate.metrics import RESULT_SCHEMA
from fer.report.read.report_cache import ReportCache
from fer.untrusted_io import parse_json

NUMBERS = ("n", "accuracy", "macro_f1", "uar", "nll", "ece")
ROUNDED = 1e-4  # tolerance for rounded fractions
NEEDED = {*NUMBERS, "digest", "recall", "precision", "support", "confusion", "classes"}
MOST_NAMED = 12  # runs per error


@dataclass(frozen=True)
class ReportRun:
    """One run of a study, with what the report needs.

    Attributes:
        run: folder name. folder: its path.
        run_id, config_id: with and without the seed.
        state: as in `status.json`; error: message and traceback of a failure.
        axes: the other grid keys and their values.
        fold: number of its fold of people, with `train.folds`, of `folds` in all.
        members: runs that this one stands for, if it is the mean of several.
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
    fold: int | None = None
    folds: int = 0
    members: tuple[str, ...] = ()

    def value(self, key: str) -> str | None:
        """Return the value of grid key `key`; None if there is no such key."""
        if key in ("backbone", "recipe", "train_on", "seed"):
            return str(getattr(self, key))
        return self.axes.get(key)


Linked = tuple[ReportRun, str]  # a run and the link to its folder


def read_result(folder: Path, split: str, memory: ReportCache) -> tuple[dict[str, Any] | None, str]:
    """Return the metrics of a run on a split and an error message; both empty if there is none."""
    try:
        text = memory.text(f"{folder}/results/{split}.json")
        if text is None:
            return None, ""
        content = orjson.loads(text)
    except (OSError, ValueError) as error:
        return None, f"not readable ({error})"
    fault = _fault(content)
    return (None, fault) if fault else (content, "")


def _fault(content: Any) -> str | None:
    """Return why `content` is not a valid result; None if it is.

    Checks use set operations because there may be tens of thousands of files.
    """
    if not isinstance(content, dict) or content.get("schema") != RESULT_SCHEMA:
        return f"not a result of schema {RESULT_SCHEMA}"
    if not content.keys() >= NEEDED:
        return f"has no {', '.join(sorted(NEEDED - content.keys()))}"
    if not _types(map(content.get, NUMBERS)) <= {int, float}:
        return "a metric is not a number"
    if not _types(map(content.get, ("brier", "auroc"))) <= {int, float, NoneType}:
        return "a metric is not a number"
    classes, counts = content["classes"], content["confusion"]
    if type(classes) is not list or not _types(classes) <= {str}:
        return "classes are not strings"
    if (type(counts) is not list or len(counts) != len(classes) or not _types(counts) <= {list}
            or not {*map(len, counts)} <= {len(classes)}):
        return "confusion counts do not match its classes"
    if not _types(chain.from_iterable(counts)) <= {int}:
        return "confusion counts are not integers"
    total = sum(chain.from_iterable(counts))
    right = sum(row[place] for place, row in enumerate(counts))
    if content["n"] != total or abs(content["accuracy"] * total - right) > ROUNDED * total:
        return "n or accuracy does not match its confusion counts"
    names = {*classes}
    for key in ("recall", "precision", "support"):
        column = content[key]
        if type(column) is not dict or column.keys() != names:
            return "recall, precision or support does not match its classes"
        if not _types(column.values()) <= {int, float, NoneType}:
            return "recall, precision or support is not a number"
    return None


def _types(values: Iterable[Any]) -> set[type]:
    return {*map(type, values)}


@dataclass(frozen=True)
class Curve:
    """Validation UAR by epoch of one run; `phases` names the recipe phase of each point."""

    run: ReportRun
    epochs: tuple[float, ...]
    val_uar: tuple[float, ...]
    phases: tuple[str, ...]


def read_curve(run: ReportRun, memory: ReportCache) -> Curve | None:
    """Return the learning curve of `run`; None if there is none.

    The file is append-only; a line truncated by a kill is skipped.
    """
    try:
        text = memory.text(f"{run.folder}/metrics.jsonl")
    except OSError:
        return None
    lines = (text or "").splitlines()
    points: dict[int, tuple[float, str]] = {}
    for line in lines:
        try:
            point = parse_json(line)
            points[int(point["epoch"])] = float(point["val_uar"]), str(point.get("phase", ""))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    if not points:
        return None
    epochs = sorted(points)
    return Curve(run, tuple(map(float, epochs)), tuple(points[epoch][0] for epoch in epochs),
                 tuple(points[epoch][1] for epoch in epochs))


@dataclass(frozen=True)
class Failure:
    """One error, its first runs, and the number of further ones."""

    error: str
    runs: tuple[Linked, ...]
    more: int


def failures(runs: Sequence[Linked]) -> tuple[Failure, ...]:
    """Return the errors of `runs`, most frequent first."""
    found: dict[str, list[Linked]] = {}
    for run, link in runs:
        if run.error:
            found.setdefault(run.error, []).append((run, link))
    return tuple(Failure(error, tuple(having[:MOST_NAMED]), max(0, len(having) - MOST_NAMED))
                 for error, having in sorted(found.items(), key=lambda one: -len(one[1])))
