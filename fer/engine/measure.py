"""Trained runs on any split, any time later: what `launch/evaluate.py` does."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from fer.config.load import load_run
from fer.config.places import cache, data_root, home
from fer.config.schema import Data
from fer.data.splits import original_of
from fer.engine.job import Task, execute
from fer.engine.session import open_session
from fer.errors import CallerError, choices
from fer.evaluate.predictions import Predictions, read_predictions
from fer.publish import read_json
from fer.study.contents import Contents, build_pack
from fer.study.lease import LeaseTaken
from fer.study.room import check_room
from fer.study.store import RunFolder, Store

console = Console()
MOST_NAMED = 20


def measure_runs(names: Sequence[str], split: str, data_file: str, show: int) -> None:
    """Evaluate runs on a split and print metrics, confusion matrices and common mistakes.

    Args:
        names: run folders, names, ids or patterns.
        data_file: a configuration whose data sets are used; empty takes each run's own.
        show: the most pictures to list.
    """
    folders = find_runs(Store(home()), names)
    override = load_run(data_file).data if data_file else None
    contents = Contents(data_root(), cache())
    check_room(cache(), "FER_CACHE")
    tables = {}
    left_out: dict[str, None] = {}  # lines, each once
    for folder in folders:
        own = folder.config.data
        data = override.model_copy(update={"resplit": own.resplit}) if override else own
        _refuse_another_deal(folder, split, data, contents)
        digest = contents.split(split, data)
        pack = build_pack(split, data, folder.config.backbone.input_size, digest, contents)
        _evaluate(folder, Task(folder.path, {split: digest}, data))
        tables[folder.name] = read_predictions(folder.predictions(split))
        _print_metrics(folder, split)
        left_out[pack.left_out(split)] = None
    for line in filter(None, left_out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    print_common_mistakes(tables, show)


def find_runs(store: Store, names: Sequence[str]) -> list[RunFolder]:
    """Return the trained runs that are named by path, name, id or pattern.

    Raises:
        CallerError: a name that fits no trained run.
    """
    trained = [folder for folder in store if folder.trained]
    found: dict[Path, RunFolder] = {}
    for name in names:
        path = Path(name)
        here = [RunFolder(path.absolute())] if (path / "train.json").is_file() else []
        fits = here or [f for f in trained if f.run_id == name or fnmatch(f.name, name)]
        if not fits:
            some = choices(folder.name for folder in trained[:MOST_NAMED])
            raise CallerError(f"no trained run '{name}' in {store.runs}; there are: "
                              f"{some or 'none'}")
        found.update({folder.path: folder for folder in fits})
    return list(found.values())


def _refuse_another_deal(folder: RunFolder, split: str, data: Data, contents: Contents) -> None:
    """Refuse to deal people out for a run whose training pictures are not there as they were.

    Its `eval` would have people whom it was trained on.
    """
    config = folder.config
    if config.data.resplit is None or config.inputs is None:
        return
    for trained, digest in config.inputs.digests.items():
        if (trained != "weights" and _kin(trained, data) == _kin(split, data)
                and contents.split(trained, data) != digest):
            raise CallerError(f"{folder.name} was trained on other pictures of {trained} than are "
                              "there now, so the people of its fold cannot be told (data.resplit)")


def _kin(split: str, data: Data) -> str:
    """Return the set that a split's set descends from; its own name where that is unknown."""
    name = split.split("/")[0]
    return original_of(name, data) if name in data.sets else name


def _evaluate(folder: RunFolder, task: Task) -> None:
    try:
        folder.lease.take()
    except LeaseTaken as taken:
        raise CallerError(str(taken)) from None
    try:
        with open_session(folder.config.compute) as session:
            execute(task, session)
    finally:
        folder.lease.release()


def _print_metrics(folder: RunFolder, split: str) -> None:
    result = read_json(folder.result(split))
    classes = folder.config.data.classes
    console.print(f"{folder.name} on {split}: n={result['n']}, UAR {result['uar']:.3f}, accuracy "
                  f"{result['accuracy']:.3f}, macro F1 {result['macro_f1']:.3f}",
                  markup=False, highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("is \\ called")
    for name in classes:
        table.add_column(name, justify="right")
    for name, counts in zip(classes, result["confusion"], strict=True):
        table.add_row(name, *(str(count) for count in counts))
    console.print(table)


def print_common_mistakes(tables: dict[str, Predictions], show: int) -> None:
    """List the samples that every model gets wrong, surest mistakes first."""
    first, *others = tables.values()
    if any(table.sample_ids != first.sample_ids for table in others):
        raise CallerError("the runs were evaluated on different pictures, as those of different "
                          "folds are; nothing to compare")
    wrong = np.all([table.predicted != table.labels for table in tables.values()], axis=0)
    confidence = np.mean([table.logits.max(1) - table.logits.mean(1) for table in tables.values()],
                         axis=0)
    order = [i for i in np.argsort(-confidence, kind="stable") if wrong[i]]
    console.print(f"{len(order)} of {len(wrong)} pictures that all {len(tables)} models get wrong"
                  + (f"; the surest {show}:" if len(order) > show else ":"))
    for i in order[:show]:
        called = choices({first.classes[table.predicted[i]] for table in tables.values()})
        console.print(f"  {first.sample_ids[i]}: is {first.classes[first.labels[i]]}, "
                      f"called {called}", markup=False, highlight=False, soft_wrap=True)
