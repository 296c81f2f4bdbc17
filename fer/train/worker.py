"""Work on run folders: train what is not trained, evaluate what is not evaluated.

A job does one run after another. A run that fails says so in its `status.json` and the next one
begins; a run that another process works on is left to it.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fer.config.run import Data
from fer.study.disk_space import disk_refusals_named
from fer.study.lease import LeaseLost, LeaseTaken
from fer.study.run_folder import RunFolder, State, Status
from fer.train import probe_runs as together
from fer.train.distributed import Session, leave_group, open_session
from fer.train.evaluate_run import evaluate_run
from fer.train.model_soup import combine
from fer.train.rank_failure import end_failed_rank, end_rank, publish_run_failure, rank_and_world
from fer.train.run_logger import Cancelled, Preempted, RunLogger, Stopped
from fer.train.setup import finish, member_states, set_up_training
from fer.train.trainer import train
from fer.train.training import go_on, never

OnStatus = Callable[[Status], None]
LEFT: dict[type[RuntimeError], State] = {
    Cancelled: "cancelled", Preempted: "preempted", Stopped: "stopped"}


@dataclass(frozen=True)
class Task:
    """One run to work on, and the splits to evaluate it on afterwards.

    Attributes:
        folder: the run folder, with its `config.yaml`.
        evaluate: `{split: content digest}`.
        data: the data sets in which the splits are now; None takes the run's own.
    """

    folder: Path
    evaluate: Mapping[str, str] = field(default_factory=dict)
    data: Data | None = None


@dataclass(frozen=True)
class Terms:
    """On which terms runs are worked on.

    Attributes:
        listen: called with each new status.
        after_epoch: told each epoch's line once it is saved, and whether it was the last one; says
            whether the run is stopped there, as a search does.
        stop: whether somebody asked this process to save and leave; polled, so it must be quick.
        max_stalls: how many restarts in a row may end where they began.
        limit_batches: for debugging, the most batches in an epoch.
    """

    listen: OnStatus | None = None
    stop: Callable[[], bool] = never
    after_epoch: Callable[[Mapping[str, Any], bool], bool] = go_on
    max_stalls: int | None = None
    limit_batches: int | None = None


def work(tasks: Sequence[Task], terms: Terms | None = None) -> list[str]:
    """Do each task in turn and return the outcomes.

    `done`, `failed`, `cancelled`, `stopped` (early, by a search), `taken` (another process works on
    it), `lost` (another process took it over) or `preempted`: this process was asked to leave, and
    what follows was not begun.
    An error of a run is in its `status.json`; one rank of several ends with it, and the job too.
    Linear probes of one body are trained together when the first of them comes.
    """
    outcomes: list[str] = []
    for number, task in enumerate(tasks):
        left = _train_alike(tasks[number:], terms or Terms())
        outcomes.append("preempted" if left else _work_one(task, terms or Terms()))
        if outcomes[-1] == "preempted":
            break
    leave_group()
    return outcomes


def _train_alike(tasks: Sequence[Task], terms: Terms) -> bool:
    """Train the first run together with those after it that are alike, where there are any.

    What is left untrained is then done alone: probes that diverge, or where another process has
    one of the runs. Returns whether this process was asked to leave.
    """
    _, world = rank_and_world()
    kind = together.untrained_kind(RunFolder(tasks[0].folder)) if world == 1 else None
    if kind is None or len(tasks) == 1:
        return False
    folders = [folder for folder in (RunFolder(task.folder) for task in tasks)
               if together.untrained_kind(folder) == kind]
    held = [folder for folder in folders if not _claim(folder)] if len(folders) > 1 else []
    try:
        if len(held) > 1:
            compute = held[0].config.compute
            with disk_refusals_named(held[0].path), open_session(compute) as session:
                together.train_stacked(held, session, terms.stop)
    except together.StopRequested:
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


def _work_one(task: Task, terms: Terms) -> str:
    folder = RunFolder(task.folder)
    rank, world = rank_and_world()
    refusal = _claim(folder) if rank == 0 else ""
    if refusal and world == 1:
        return refusal
    try:
        return _in_session(task, folder, terms, refusal)
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


def _in_session(task: Task, folder: RunFolder, terms: Terms, refusal: str) -> str:
    """Work on a run with all its ranks; the first one's refusal is everybody's."""
    with open_session(folder.config.compute) as session:
        if session.any_rank(bool(refusal))[0]:
            return refusal or "refused by the first rank"
        try:
            run_task(task, session, terms)
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


def run_task(task: Task, session: Session, terms: Terms | None = None) -> None:
    """Bring one run folder to what the task asks for; the first rank holds its lease.

    Raises:
        CallerError: a mistake in configuration or data, or a disk that is full or read-only.
        Cancelled, Preempted, Stopped: on all ranks, when one of them was asked to leave.
    """
    terms = terms or Terms()
    folder = RunFolder(task.folder)
    config = folder.config
    journal = RunLogger(folder, config, session.first, terms.listen, terms.max_stalls)
    with disk_refusals_named(folder.path), contextlib.closing(journal):
        if not session.from_first(lambda: folder.trained):
            _train(folder, session, journal, terms)
        missing = session.from_first(lambda: {
            split: digest for split, digest in task.evaluate.items()
            if not folder.evaluated(split, digest)})
        if missing:
            evaluate_run(folder, session, journal, missing, task.data or config.data, terms.stop)
        journal.write_status(replace(journal.status, state="done"))
        if session.first:  # asked in its last epoch
            folder.forget_stop()


def _train(folder: RunFolder, session: Session, journal: RunLogger, terms: Terms) -> None:
    run = set_up_training(folder, session, journal)
    run.limit_batches, run.stop, run.after_epoch = (
        terms.limit_batches, terms.stop, terms.after_epoch)
    if folder.config.recipe.combine is not None:
        combine(run, member_states(folder, session))
    else:
        train(run)
    finish(folder, run)
