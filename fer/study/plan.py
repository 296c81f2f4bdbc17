"""What is left to do for each run of a study, given what is on disk. Pure.

Carrying it out is `fer.cluster`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fer.study.expand import Run
from fer.study.store import Store

Action = Literal["done", "train", "evaluate", "wait", "running", "failed", "blocked"]
UNFINISHED: tuple[Action, ...] = ("train", "evaluate", "wait", "running")


@dataclass(frozen=True)
class OnDisk:
    """What a run folder says.

    `missing` are the splits without a result on their present content; `held` says that a live
    process works on the run.
    """

    trained: bool = False
    failed: bool = False
    held: bool = False
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """What to do with one run, and on which splits to evaluate it."""

    run: Run
    action: Action
    evaluate: tuple[str, ...] = ()


def plan(runs: Sequence[Run], on_disk: Mapping[str, OnDisk]) -> list[Step]:
    """Return one step a run, in the order given (parents first).

    `train` and `evaluate` can start now; `wait` waits for a parent; `running` is another
    process's; `blocked` is the child of a run that failed.
    """
    actions: dict[str, Action] = {}
    steps = []
    for run in runs:
        state = on_disk.get(run.id, OnDisk())
        action = _action(run, state, on_disk, actions)
        actions[run.id] = action
        steps.append(Step(run, action, state.missing))
    return steps


def _action(
    run: Run, state: OnDisk, on_disk: Mapping[str, OnDisk], actions: Mapping[str, Action]
) -> Action:
    if state.trained and not state.missing:
        return "done"
    if state.held:
        return "running"
    if state.failed:
        return "failed"
    if state.trained:
        return "evaluate"
    untrained = [p for p in run.parents if not on_disk.get(p, OnDisk()).trained]
    if any(actions[parent] in ("failed", "blocked") for parent in untrained):
        return "blocked"
    return "wait" if untrained else "train"


def look(store: Store, runs: Sequence[Run], splits: Mapping[str, str]) -> dict[str, OnDisk]:
    """Read the run folders.

    Args:
        splits: `{split: content digest}` that every wanted run is to be evaluated on.
    """
    return {run.id: _look(store, run, splits if run.wanted else {}) for run in runs}


def _look(store: Store, run: Run, splits: Mapping[str, str]) -> OnDisk:
    folder = store.folder(run)
    if not folder.path.is_dir():
        return OnDisk(missing=tuple(splits))
    missing = tuple(s for s, digest in splits.items() if not folder.evaluated(s, digest))
    return OnDisk(folder.trained, folder.gave_up, folder.lease.held(), missing)
