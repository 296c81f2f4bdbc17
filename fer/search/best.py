"""The best configuration of a search, as a file for `train.py` and studies. No Ray.

    studies/<search>/best.yaml

Its comment describes the origin for readers, `best.json` for programs.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from fer.atomic_io import write_json, write_text, yaml_text
from fer.config.blocks import BLOCK_FOLDERS
from fer.config.load import apply
from fer.config.search import Search
from fer.search.trial_record import ENDED, Entry, Record, best_first

FILE = "best.yaml"


@dataclass(frozen=True)
class Best:
    """One configuration and its scores.

    Attributes:
        score: score of the trial, or the mean over the finalists' seeds.
        scores: one per seed; a single one without finalists.
    """

    params: dict[str, Any]
    trial: int
    score: float
    scores: list[float]
    runs: list[str]


def finalists(record: Record, search: Search) -> list[Entry]:
    """Return the trials whose configurations are repeated, best first."""
    if search.finalists is None:
        return []
    return best_first(record.searched, search.higher_is_better)[: search.finalists.best]


def best_of(record: Record, search: Search) -> Best | None:
    """Return the best configuration, by the mean over seeds if finalists have ended.

    Only configurations with a run of every seed are compared; None if no trial has a score.
    """
    seeds = search.finalists.seeds if search.finalists else []
    groups: dict[int, list[Entry]] = defaultdict(list)
    for entry in record:
        if entry.seed in seeds and entry.state == "done" and entry.score is not None:
            groups[entry.number].append(entry)
    whole = [group for group in groups.values() if len(group) == len(seeds)]
    if whole:
        sign = 1 if search.higher_is_better else -1
        group = max(whole, key=lambda group: (sign * mean(e.score or 0.0 for e in group),
                                              -group[0].number))
        scores = [entry.score for entry in group if entry.score is not None]
        return Best(group[0].params, group[0].number, mean(scores), scores, [e.run for e in group])
    order = best_first(record.searched, search.higher_is_better)
    if not order or order[0].score is None:
        return None
    return Best(order[0].params, order[0].number, order[0].score, [order[0].score], [order[0].run])


def write_best(folder: Path, search: Search, record: Record,
               kind_of: Callable[[dict[str, Any]], tuple[str, str]], commit: str,
               folds: int = 0) -> Best | None:
    """Write `best.yaml` and `best.json`; return their content, None if no trial has a score.

    Args:
        kind_of: returns the names of backbone and recipe for parameters, for studies that use the
            result.
        commit: commit of the code that searched.
        folds: of people, on which trials were scored; the best configuration has none.
    """
    best = best_of(record, search)
    if best is None:
        return None
    kind = kind_of(best.params)
    mine = record.searched
    ended = sum(entry.state in ("done", "stopped") for entry in mine)
    how = (f"mean over {len(best.scores)} seeds" if len(best.scores) > 1 else "one seed, the best "
           "of many: an optimistic estimate")
    if folds:
        how = f"out of fold over {folds} folds of people, {how}"
    lines = [
        f"# Found by search {search.search}: trial {best.trial} of {len(mine)} ({ended} with a "
        f"score), searcher {search.searcher}, seed {search.seed}.",
        f"# {search.metric} on validation {best.score:.4f} ({how}); code {commit or 'unknown'}.",
        f"# Runs: {', '.join(best.runs)}",
    ]
    tree = {"base": search.base, **nested({**search.set, **best.params}, folder / FILE)}
    if folds:
        tree["train"] = {key: value for key, value in tree.get("train", {}).items()
                         if key not in ("folds", "fold")} | {"folds": None}
    write_text(folder / FILE, "\n".join(lines) + "\n" + yaml_text(tree))
    write_json(folder / "best.json", {
        "schema": 1, "search": search.search, "backbone": kind[0], "recipe": kind[1],
        "trial": best.trial, "params": best.params, "set": search.set, "base": search.base,
        "metric": search.metric, "score": best.score, "scores": best.scores,
        "runs": best.runs, "trials": len(mine), "commit": commit})
    return best


def nested(overrides: dict[str, Any], place: Path) -> dict[str, Any]:
    """Return dotted overrides as the nested keys of a configuration file.

    A backbone or recipe stays a name, unless a key inside it is also set.
    """
    inside = {key.partition(".")[0] for key in overrides if "." in key}
    whole = {key: value for key, value in overrides.items()
             if key in BLOCK_FOLDERS and key not in inside}
    rest = {key: value for key, value in overrides.items() if key not in whole}
    return {**whole, **apply({}, rest, str(place))}


def repeats_of(record: Record, search: Search) -> list[Entry]:
    """Return the runs of the finalists: each configuration with each seed."""
    return [Entry(entry.number, entry.params, seed=seed) for entry in finalists(record, search)
            for seed in (search.finalists.seeds if search.finalists else ())]


def complete(record: Record, search: Search) -> bool:
    """Return whether every requested trial and repetition has ended."""
    return (search.budget.trials is not None and len(record.searched) >= search.budget.trials
            and all_ended(record, search))


def all_ended(record: Record, search: Search) -> bool:
    """Return whether the started trials and all repetitions of the finalists have ended."""
    wanted = [*record.searched, *(record.get(entry.key) for entry in repeats_of(record, search))]
    return all(entry is not None and entry.state in ENDED for entry in wanted)
