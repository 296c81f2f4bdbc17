"""Plan of a study: what remains to be done for each run, given the state on disk. Pure.

`fer.study.queue_view` reads the disk, `fer.cluster` executes the plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fer.study.expand import Run

Action = Literal["done", "train", "evaluate", "wait", "queued", "running", "failed", "blocked"]
UNFINISHED: tuple[Action, ...] = ("train", "evaluate", "wait", "queued", "running")


@dataclass(frozen=True)
class RunState:
    """State of a run, from its folder and from the queue.

    `missing` are the splits without a result on their current content; `held` says that a live
    process works on the run; `job` is the id of a SLURM job that still has to do it.
    """

    trained: bool = False
    failed: bool = False
    held: bool = False
    missing: tuple[str, ...] = ()
    job: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Step:
    """Action for one run, with the splits to evaluate it on; `doubt` as in `RunState`."""

    run: Run
    action: Action
    evaluate: tuple[str, ...] = ()
    job: str = ""
    doubt: str = ""


def plan(runs: Sequence[Run], on_disk: Mapping[str, RunState]) -> list[Step]:
    """Return one step per run, in the given order (parents first).

    `train` and `evaluate` can start now; `wait` waits for a parent; `running` is being done by
    another process; `queued` is in SLURM's queue; `blocked` is the child of a failed run.
    """
    actions: dict[str, Action] = {}
    steps = []
    for run in runs:
        state = on_disk.get(run.id, RunState())
        action = _action(run, state, on_disk, actions)
        actions[run.id] = action
        steps.append(Step(run, action, state.missing, state.job, state.doubt))
    return steps


def doubts(steps: Sequence[Step]) -> list[str]:
    """Return a line for each run that waits because it is unknown whether its job is alive."""
    return [f"waits: {step.run.name}: {step.doubt}" for step in steps if step.doubt]


def _action(
    run: Run, state: RunState, on_disk: Mapping[str, RunState], actions: Mapping[str, Action]
) -> Action:
    if state.trained and not state.missing:
        return "done"
    if state.held:
        return "running"
    if state.failed:
        return "failed"
    if state.job:
        return "queued"
    if state.trained:
        return "evaluate"
    untrained = [p for p in run.parents if not on_disk.get(p, RunState()).trained]
    if any(actions[parent] in ("failed", "blocked") for parent in untrained):
        return "blocked"
    return "wait" if untrained else "train"
