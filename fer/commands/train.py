"""One run and its parents in this process: the command behind `launch/train.py`.

For debugging and first experiments on your own images; a study does the same through a queue.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.config.run import RunConfig
from fer.config.yaml_io import parse_overrides
from fer.console import Terminal
from fer.errors import CallerError
from fer.locks import check_locks
from fer.study.disk_space import LEAST_FREE, check_room
from fer.study.expand import Run, identify
from fer.study.inputs import InputDigests, draw_missing_faces
from fer.study.leakage import find_overlaps, refuse_overlaps
from fer.study.lease import LeaseTaken
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import Status
from fer.train.callbacks import Callbacks, OnStatus
from fer.train.distributed import Session, leave_group, open_session
from fer.train.run_tasks import Task, run_task
from fer.transfer.model_inspection import refuse_misfits
from fer.untrusted_io import read_json

DEBUG_BATCHES = 3
console = Terminal(stderr=False)


def train_single(file: str, overrides: Sequence[str], debug: bool) -> None:
    """Train one configuration, after its parents, and evaluate it.

    Args:
        file: a configuration, or a run folder's `config.yaml`.
        overrides: `key=value` strings.
        debug: a few batches per epoch, one epoch per phase, in a separate folder.

    Raises:
        CallerError: a mistake in configuration or data, or another process works on the run.
    """
    config = load_run(file, parse_overrides(overrides))
    if debug:
        config = shortened(config)
    store = Store(home() / "debug" if debug else home())
    check_room(store.home, "FER_HOME", LEAST_FREE)
    check_locks(store.home, "FER_HOME")
    check_room(cache(), "FER_CACHE")
    refuse_misfits([config], cache())
    with open_session(config.compute) as session:
        if session.first:
            if debug:
                shutil.rmtree(store.runs, ignore_errors=True)
            draw_missing_faces(config.data, data_root(), config.needed_sets)
        session.wait()
        contents = InputDigests(data_root(), cache())
        runs = identify(config, contents, ranks=session.world)
        refuse_misfits([run.config for run in runs], cache())  # now with their weights files
        splits = {split: contents.split(split, config.data) for split in config.evaluate_on}
        shared = find_overlaps((run.config for run in runs), splits, config.data, contents)
        for line in [*refuse_overlaps(shared, config.data.shared_people),
                     *contents.people_warnings((run.config for run in runs), splits, config.data)]:
            if session.first:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        for run in runs:
            _train_one(store, run, splits if run is runs[-1] else {}, session, debug)
        if session.first:
            _print_result(store.folder(runs[-1]), list(splits))
    leave_group()


def shortened(config: RunConfig) -> RunConfig:
    """Return the configuration, and its parents, with one epoch per phase."""
    phases = tuple(p.model_copy(update={"epochs": 1}) for p in config.recipe.phases)
    return config.model_copy(update={
        "recipe": config.recipe.model_copy(update={"phases": phases}),
        "parents": {role: shortened(parent) for role, parent in config.parents.items()}})


def _train_one(
    store: Store, run: Run, splits: dict[str, str], session: Session, debug: bool
) -> None:
    folder = store.folder(run)
    if session.first:
        folder.register(run, {"cluster": "this process", "pid": os.getpid()})
        try:
            folder.lease.take()
        except LeaseTaken as taken:
            raise CallerError(str(taken)) from None
    session.wait()
    try:
        with _bar(folder, session.first) as listen:
            run_task(Task(folder.path, splits, max_batches=DEBUG_BATCHES if debug else None),
                     session, Callbacks(on_status=listen if session.first else None))
    finally:
        if session.first:
            folder.lease.release()


@contextlib.contextmanager
def _bar(folder: RunFolder, show: bool) -> Iterator[OnStatus]:
    """Yield a callback that shows a status as a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not show) as bars:
        bar = bars.add_task(folder.name, total=None)
        printed: set[str] = set()

        def listen(status: Status) -> None:
            """Print new notes and move the bar."""
            for note in status.notes:
                if note not in printed:
                    bars.console.print(note, markup=False, highlight=False)
                    printed.add(note)
            metric = f"  val {status.metric:.3f}" if status.metric is not None else ""
            bars.update(bar, completed=status.step, total=status.steps or None,
                        description=f"{status.phase} epoch {status.epoch}{metric}")

        yield listen


def _print_result(folder: RunFolder, splits: Sequence[str]) -> None:
    facts = read_json(folder.path / "train.json")
    console.print(f"{folder.path}\n{facts.get('kept', 'best')} {facts['select']} on validation: "
                  f"{facts['best_score']:.4f} in epoch {facts['best_epoch']}",
                  markup=False, highlight=False, soft_wrap=True)
    if not splits:
        return
    table = Table("split", "n", "UAR", "accuracy", "macro F1")
    for split in splits:
        result = read_json(folder.result(split))
        table.add_row(split, str(result["n"]),
                      *(f"{result[name]:.3f}" for name in ("uar", "accuracy", "macro_f1")))
    console.print(table)
