"""Processing of run folders: train untrained runs, evaluate missing splits.

A job processes its runs one after another. A failed run is recorded in its `status.json` and the
next one starts; a run that another process works on is skipped.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.config.run import Data
from fer.study.disk_space import disk_refusals_named
from fer.study.lease import LeaseLost, LeaseTaken
from fer.study.run_folder import RunFolder
from fer.study.run_records import State
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
        data: the data sets that contain the splits; None for the run's own.
        max_stalls: maximum number of consecutive restarts without progress; None for no limit.
        max_batches: maximum number of batches per epoch, for debugging.
    """

    folder: Path
    evaluate: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None
    max_stalls: int | None = None
    max_batches: int | None = None


def work(tasks: Sequence[Task], callbacks: Callbacks = NO_CALLBACKS) -> list[str]:
    """Process the tasks in order and return their outcomes.

    An outcome is `done`, `failed`, `cancelled`, `stopped` (early, by a search), `taken` (another
    process works on it), `lost` (another process took it over) or `preempted`: save and exit was
    requested, and the remaining tasks were not started.
    An error of a run is written to its `status.json`; with several ranks it also ends the job.
    Linear probes of one body are trained together when the first of them is reached.
    """
    outcomes: list[str] = []
    for number, task in enumerate(tasks):
        preempted = _train_together(tasks[number:], callbacks)
        outcomes.append("preempted" if preempted else _work_one(task, callbacks))
        if outcomes[-1] == "preempted":
            break
    leave_group()
    return outcomes


def _train_together(tasks: Sequence[Task], callbacks: Callbacks) -> bool:
    """Train the first run together with later runs of the same kind, if there are any.

    Runs that remain untrained are trained alone afterwards: probes that diverge, or runs held by
    another process. Returns whether save and exit was requested.
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
    except Exception as error:  # the boundary of a run: recorded in its status
        if rank == 0 and not folder.lease.mine():  # not a failure of the run
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
    """Take the lease of a run; return its outcome if it cannot be processed, else ''."""
    if folder.needs_retry:
        return "cancelled" if folder.cancel_asked else folder.status().state
    try:
        folder.lease.take()
    except LeaseTaken:
        return "taken"
    return ""


def _in_session(task: Task, folder: RunFolder, callbacks: Callbacks, refusal: str) -> str:
    """Process a run on all its ranks; a refusal by the first rank applies to all."""
    with open_session(folder.config.compute) as session:
        if session.any_rank(bool(refusal))[0]:
            return refusal or "refused by the first rank"
        try:
            run_task(task, session, callbacks)
        except (Cancelled, Preempted, Stopped) as reason:
            state = LEFT[type(reason)]
            if session.first:
                error = str(reason) if state == "cancelled" else ""
                folder.write_status(replace(folder.status(), state=state, error=error))
                if state == "stopped":  # otherwise a resumed run would stop again
                    folder.forget_stop()
            session.wait()
            return state
    return "done"


def run_task(task: Task, session: Session, callbacks: Callbacks = NO_CALLBACKS) -> None:
    """Train and evaluate one run folder as the task requires; the first rank holds its lease.

    Raises:
        CallerError: a mistake in configuration or data, or a disk that is full or read-only.
        Cancelled, Preempted, Stopped: on all ranks, if requested on one of them.
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
        if session.first:  # requested during the last epoch
            folder.forget_stop()


def _train(task: Task, folder: RunFolder, session: Session, logger: RunLogger,
           callbacks: Callbacks) -> None:
    context = set_up_training(folder, session, logger, max_batches=task.max_batches)
    if folder.config.recipe.combine is not None:
        progress = combine(context, callbacks, member_states(folder, session))
    else:
        progress = train(context, callbacks)
    finish(folder, context, progress)
