"""What is left to do for each run of a study, given what is on disk. Pure.

Reading the disk is `fer.study.queue_view`, carrying the plan out is `fer.cluster`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fer.study.expand import Run

Action = Literal["done", "train", "evaluate", "wait", "queued", "running", "failed", "blocked"]
UNFINISHED: tuple[Action, ...] = ("train", "evaluate", "wait", "queued", "running")


@dataclass(frozen=True)
class RunState:
    """What a run folder says, and the queue of the run's job.

    `missing` are the splits without a result on their present content; `held` says that a live
    process works on the run; `job` is the id of a SLURM job that has it still to do.
    """

    trained: bool = False
    failed: bool = False
    held: bool = False
    missing: tuple[str, ...] = ()
    job: str = ""
    doubt: str = ""


@dataclass(frozen=True)
class Step:
    """What to do with one run, and on which splits to evaluate it; `doubt` as in `RunState`."""

    run: Run
    action: Action
    evaluate: tuple[str, ...] = ()
    job: str = ""
    doubt: str = ""


def plan(runs: Sequence[Run], on_disk: Mapping[str, RunState]) -> list[Step]:
    """Return one step a run, in the order given (parents first).

    `train` and `evaluate` can start now; `wait` waits for a parent; `running` is another
    process's; `queued` is in SLURM's queue; `blocked` is the child of a run that failed.
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
    """Return a line for each run that waits because it cannot be known whether its job lives."""
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
