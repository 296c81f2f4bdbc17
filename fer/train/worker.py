"""Work on run folders: train what is not trained, evaluate what is not evaluated.

A job does one run after another. A run that fails says so in its `status.json` and the next one
begins; a run that another process works on is left to it.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.config.run import Data
from fer.study.disk_space import disk_refusals_named
from fer.study.lease import LeaseLost, LeaseTaken
from fer.study.run_folder import RunFolder, State
from fer.train import probe_runs
from fer.train.callbacks import NO_CALLBACKS, Callbacks
from fer.train.distributed import Session, leave_group, open_session
from fer.train.evaluate_run import evaluate_run
from fer.train.model_soup import combine
from fer.train.rank_failure import end_failed_rank, end_rank, publish_run_failure, rank_and_world
from fer.train.run_logger import Cancelled, Preempted, RunLogger, Stopped
from fer.train.setup import finish, member_states, set_up_training
from fer.train.trainer import train

LEFT: dict[type[RuntimeError], State] = {
    Cancelled: "cancelled", Preempted: "preempted", Stopped: "stopped"}


@dataclass(frozen=True)
class Task:
    """One run to work on, and the splits to evaluate it on afterwards.

    Attributes:
        folder: the run folder, with its `config.yaml`.
        evaluate: `{split: content digest}`.
        data: the data sets in which the splits are now; None takes the run's own.
        max_stalls: how many restarts in a row may end where they began; None for any number.
        max_batches: the most batches in an epoch, for debugging.
    """

    folder: Path
    evaluate: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None
    max_stalls: int | None = None
    max_batches: int | None = None


def work(tasks: Sequence[Task], callbacks: Callbacks = NO_CALLBACKS) -> list[str]:
    """Do each task in turn and return the outcomes.

    `done`, `failed`, `cancelled`, `stopped` (early, by a search), `taken` (another process works on
    it), `lost` (another process took it over) or `preempted`: this process was asked to exit, and
    what follows was not begun.
    An error of a run is in its `status.json`; one rank of several ends with it, and the job too.
    Linear probes of one body are trained together when the first of them comes.
    """
    outcomes: list[str] = []
    for number, task in enumerate(tasks):
        left = _train_alike(tasks[number:], callbacks)
        outcomes.append("preempted" if left else _work_one(task, callbacks))
        if outcomes[-1] == "preempted":
            break
    leave_group()
    return outcomes


def _train_alike(tasks: Sequence[Task], callbacks: Callbacks) -> bool:
    """Train the first run together with those after it that are alike, where there are any.

    What is left untrained is then done alone: probes that diverge, or where another process has
    one of the runs. Returns whether this process was asked to leave.
    """
    _, world = rank_and_world()
    kind = probe_runs.untrained_kind(RunFolder(tasks[0].folder)) if world == 1 else None
    if kind is None or len(tasks) == 1:
        return False
    folders = [folder for folder in (RunFolder(task.folder) for task in tasks)
               if probe_runs.untrained_kind(folder) == kind]
    held = [folder for folder in folders if not _claim(folder)] if len(folders) > 1 else []
    try:
        if len(held) > 1:
            compute = held[0].config.compute
            with disk_refusals_named(held[0].path), open_session(compute) as session:
                probe_runs.train_stacked(held, session, callbacks.stop_requested)
    except probe_runs.StopRequested:
        for folder in held:
            if not folder.trained:
                folder.write_status(replace(folder.status(), state="preempted"))
        return True
    except LeaseLost:
        return False
    except Exception as error:  # the boundary of these runs, as in `_work_one`
        for folder in held:
            if folder.lease.mine() and not folder.trained:
                publish_run_failure(folder, error)
    finally:
        for folder in held:
            folder.lease.release()
    return False


def _work_one(task: Task, callbacks: Callbacks) -> str:
    folder = RunFolder(task.folder)
    rank, world = rank_and_world()
    refusal = _claim(folder) if rank == 0 else ""
    if refusal and world == 1:
        return refusal
    try:
        return _in_session(task, folder, callbacks, refusal)
    except LeaseLost as error:
        if world > 1:
            end_rank(f"LeaseLost: {error}")
        return "lost"
    except Exception as error:  # the boundary of a run: kept whole in its status, and reported
        if rank == 0 and not folder.lease.mine():  # the consequences of that are not the run's
            if world > 1:
                end_rank(f"the run was taken over: {error}")
            return "lost"
        if world > 1:
            end_failed_rank(folder, error)
        publish_run_failure(folder, error)
        return "failed"
    finally:
        if rank == 0:
            folder.lease.release()


def _claim(folder: RunFolder) -> str:
    """Take the lease of a run; returns the outcome of one that is not to be worked on."""
    if folder.needs_retry:
        return "cancelled" if folder.cancel_asked else folder.status().state
    try:
        folder.lease.take()
    except LeaseTaken:
        return "taken"
    return ""


def _in_session(task: Task, folder: RunFolder, callbacks: Callbacks, refusal: str) -> str:
    """Work on a run with all its ranks; the first one's refusal is everybody's."""
    with open_session(folder.config.compute) as session:
        if session.any_rank(bool(refusal))[0]:
            return refusal or "refused by the first rank"
        try:
            run_task(task, session, callbacks)
        except (Cancelled, Preempted, Stopped) as leaving:
            state = LEFT[type(leaving)]
            if session.first:
                error = str(leaving) if state == "cancelled" else ""
                folder.write_status(replace(folder.status(), state=state, error=error))
                if state == "stopped":  # who trains the run on must not be stopped again
                    folder.forget_stop()
            session.wait()
            return state
    return "done"


def run_task(task: Task, session: Session, callbacks: Callbacks = NO_CALLBACKS) -> None:
    """Bring one run folder to what the task asks for; the first rank holds its lease.

    Raises:
        CallerError: a mistake in configuration or data, or a disk that is full or read-only.
        Cancelled, Preempted, Stopped: on all ranks, when one of them was asked to leave.
    """
    folder = RunFolder(task.folder)
    config = folder.config
    logger = RunLogger(folder, config, session.first, callbacks.on_status,
                       task.max_stalls)
    with disk_refusals_named(folder.path), contextlib.closing(logger):
        if not session.from_first(lambda: folder.trained):
            _train(task, folder, session, logger, callbacks)
        missing = session.from_first(lambda: {
            split: digest for split, digest in task.evaluate.items()
            if not folder.evaluated(split, digest)})
        if missing:
            evaluate_run(folder, session, logger, missing, task.data or config.data,
                         callbacks.stop_requested)
        logger.write_status(replace(logger.status, state="done"))
        if session.first:  # asked in its last epoch
            folder.forget_stop()


def _train(task: Task, folder: RunFolder, session: Session, logger: RunLogger,
           callbacks: Callbacks) -> None:
    context = set_up_training(folder, session, logger, max_batches=task.max_batches)
    if folder.config.recipe.combine is not None:
        progress = combine(context, callbacks, member_states(folder, session))
    else:
        progress = train(context, callbacks)
    finish(folder, context, progress)
