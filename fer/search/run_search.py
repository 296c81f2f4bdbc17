"""The search behind `launch/tune.py`: check, prepare data, search, repeat the best, report."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fer.atomic_io import write_yaml
from fer.config.load import dump, load_search
from fer.config.paths import REPOSITORY, cache, data_root, home
from fer.config.run import RunConfig
from fer.config.search import Search
from fer.config.yaml_io import parse_overrides, read_tree
from fer.console import Terminal
from fer.data.splits import pictures_of
from fer.errors import CallerError
from fer.machine import cores, count_gpus
from fer.progress import shown
from fer.search.best import Best, all_ended, complete, repeats_of, write_best
from fer.search.options import TrialSlots, TuneOptions
from fer.search.ray_local import ray_here
from fer.search.searchers import ConfigSource, ListSource, OptunaSource
from fer.search.trial_job import TrialJobs
from fer.search.trial_record import Record
from fer.search.trial_runs import TrialFactory, label
from fer.search.trial_table import SearchProgress
from fer.study.disk_space import LEAST_FREE, check_room
from fer.study.folds import advice_on_folds
from fer.study.inputs import (
    InputDigests,
    build_pack,
    draw_missing_faces,
    packs_of,
    require_sets,
)
from fer.study.lease import Lease, LeaseTaken
from fer.study.run_folder import Store
from fer.study.snapshot import git_state
from fer.transfer.model_inspection import refuse_misfits

if TYPE_CHECKING:
    from fer.search.runner import SearchRunner

MOST_TRIALS = 100_000  # where only epochs or hours limit a search
INTERRUPTED = 130
ADJUSTABLE = ("budget", "scheduler", "finalists", "resources")  # may change between starts
console = Terminal()


def search_folder(store: Store, search: Search) -> Path:
    """Return the folder of a search, next to those of the studies."""
    return store.study(search.search)


def search_here(asked: TuneOptions, ray: AbstractContextManager[None] | None = None,
                trial_jobs: TrialJobs | None = None,
                asked_to_leave: Callable[[], bool] = lambda: False) -> int:
    """Search in this process and write the best configuration; return the exit code.

    Args:
        ray: a Ray cluster over several nodes, instead of one on this machine.
        trial_jobs: submits each trial as a separate job.
        asked_to_leave: returns whether save and exit was requested, before or between trials.
    """
    search, maker = read_search(asked)
    store = Store(home())
    folder = search_folder(store, search)
    configs, epochs = checked_configs(maker)
    slots = (jobs_slots(search, asked.slots) if trial_jobs else
             slots_of(search, configs, asked.slots))
    check_room(store.home, "FER_HOME", LEAST_FREE)
    with _alone(folder) as lease:
        refuse_other_search(folder, search, asked.resume)
        write_yaml(folder / "search.yaml", dump(search))
        record = Record(folder, lease)
        if asked.retry:
            _reopen(store, record, maker)
        left = False
        if complete(record, search):
            console.print("every trial has ended: nothing to train")
        else:
            prepare_data(configs, maker)
            source = (OptunaSource(search) if search.searcher == "optuna" else
                      ListSource(maker.listed()))
            machine = ray or ray_here(cores(), count_gpus() if slots.gpus else 0)
            with machine, SearchProgress(search, slots, console) as progress:
                from fer.search.runner import SearchRunner  # imports Ray, now configured

                tuning = SearchRunner(search, maker, store, folder, record, slots, progress.show,
                                      trial_jobs, asked_to_leave)
                _search(tuning, source, epochs)
            left = tuning.exit.requested or asked_to_leave()
        if left:  # a job may have no time for more
            console.print("search interrupted; run the same command to resume")
            return INTERRUPTED
        best = write_best(folder, search, record, maker.kind,
                          git_state(REPOSITORY)["commit"] or "", maker.folds)
        from fer.search.report.search_page import (
            report_search,  # imports pandas and matplotlib: only when needed
        )

        page = report_search(folder, search, record, _drawings(configs))
    console.print(f"report: {page}", markup=False, highlight=False, soft_wrap=True)
    return _verdict(record, best, folder, search)


def _drawings(configs: Sequence[RunConfig]) -> str:
    """Return what the page says of drawings, if all trials were scored on some."""
    from fer.report.drawings import DRAWINGS, are_drawings

    data = configs[0].data
    splits = {f"{name}/val" for config in configs for name in config.train_sets}
    return DRAWINGS if all(are_drawings(picture.id for picture in pictures_of(
        split, data, data_root())) for split in splits) else ""


def read_search(asked: TuneOptions) -> tuple[Search, TrialFactory]:
    search = load_search(asked.file, parse_overrides(asked.overrides))
    if Path(search.base).is_relative_to(REPOSITORY):  # found in another checkout or snapshot too
        search = search.model_copy(update={
            "base": str(Path(search.base).relative_to(REPOSITORY))})
    return search, TrialFactory(search, InputDigests(data_root(), cache()))


def checked_configs(maker: TrialFactory) -> tuple[list[RunConfig], int]:
    """Return `maker.checked()` after checking that every recipe fits its backbone."""
    configs, epochs = maker.checked()
    check_room(cache(), "FER_CACHE")
    refuse_misfits(configs[1:], cache())  # the base itself need not be one that can be trained
    return configs, epochs


def slots_of(search: Search, configs: list[RunConfig], most: int) -> TrialSlots:
    """Return the cores and GPUs of a trial, and the number of concurrent trials (0: what fits).

    Raises:
        CallerError: a trial needs more than this machine has; Ray would wait forever.
    """
    if search.resources.ranks > 1:
        raise CallerError("resources: a trial with several processes needs its own SLURM job: use "
                          "--cluster NAME, or set resources.gpus=1 resources.nodes=1")
    threads = max(config.compute.threads for config in configs)
    if threads > cores():
        raise CallerError(f"compute.threads: a trial needs {threads} cores, but this process may "
                          f"use {cores()}")
    on_cpu = all(config.compute.device == "cpu" for config in configs)
    gpus = 0 if on_cpu else count_gpus()
    if not gpus:
        return TrialSlots(threads, 0, most)
    wanted = search.resources.gpus  # one at most
    return TrialSlots(min(threads, cores() / gpus * wanted), wanted, most, counted=wanted)


def jobs_slots(search: Search, most: int) -> TrialSlots:
    """Return the resources for following a trial that is a separate job: almost none."""
    wanted = search.resources
    return TrialSlots(0.01, 0, most or wanted.slots, counted=wanted.gpus * wanted.nodes)


@contextmanager
def _alone(folder: Path) -> Iterator[Lease]:
    """Hold the lease of a search: one driver at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    lease = Lease(folder / "lease")
    try:
        lease.take()
    except LeaseTaken as taken:
        raise CallerError(f"search {folder.name} is being worked on: {taken}") from None
    try:
        yield lease
    finally:
        lease.release()


def refuse_other_search(folder: Path, search: Search, resume: bool) -> None:
    """Refuse changes that would give existing trial numbers other configurations."""
    file = folder / "search.yaml"
    if (folder / "study.yaml").is_file():
        raise CallerError(f"search '{search.search}': a study of that name exists in {folder}")
    if file.is_file():
        before, now = ({key: value for key, value in tree.items() if key not in ADJUSTABLE}
                       for tree in (read_tree(file), dump(search)))
        changed = sorted(key for key in before.keys() | now.keys()
                         if before.get(key) != now.get(key))
        if changed:
            raise CallerError(f"{folder} contains another search of this name (differs in "
                              f"{', '.join(changed)}); rename this search, or move the folder "
                              "away: existing runs are reused")
    elif resume:
        raise CallerError(f"--resume: no search '{search.search}' has been started in {folder}")


def _reopen(store: Store, record: Record, maker: TrialFactory) -> None:
    """Make failed trials and their ancestors ready to retry."""
    for entry in record:
        if entry.state != "failed":
            continue
        for run in maker.trial(entry.number, entry.params, entry.seed).runs:
            folder = store.folder(run)
            if folder.needs_retry:
                folder.reopen()
        record.change(entry.key, state="waiting", error="")


def prepare_data(configs: list[RunConfig], maker: TrialFactory) -> None:
    """Draw faces and build packs before trials begin."""
    names = set().union(*(config.needed_sets for config in configs))
    data = configs[0].data
    with shown("drawing faces (once)") as progress:
        draw_missing_faces(data, data_root(), names, progress)
    require_sets(names, data, data_root())
    base, *trials = (maker.trial(0, params).runs for params in ({}, *maker.sample()))
    runs = [*base, *itertools.chain(*trials)]
    tried = [run.config for run in itertools.chain(*trials)]
    refuse_misfits(tried, cache())  # now with weights files
    for line in advice_on_folds(tried, maker.contents):
        console.print(line, markup=False, soft_wrap=True)
    for split, sets, size, digest in packs_of((run.config for run in runs), (), data,
                                              maker.contents):
        with shown(f"packing {split} at {size} px") as progress:
            pack = build_pack(split, sets, size, digest, maker.contents, progress)
        for line in pack.notes(split):
            console.print(line, markup=False, soft_wrap=True)


def _search(tuning: "SearchRunner", source: ConfigSource, epochs: int) -> None:
    """Run the search and then its finalists."""
    search, record = tuning.search, tuning.record
    tuning.go(source, search.budget.trials or MOST_TRIALS, epochs)
    if not tuning.exit.requested and (repeats := repeats_of(record, search)):
        for entry in repeats:
            record.put(record.get(entry.key) or entry, publish=False)
        tuning.go(ListSource(iter([entry.params for entry in repeats])), len(repeats), epochs,
                  [entry.key for entry in repeats])


def _verdict(record: Record, best: Best | None, folder: Path, search: Search) -> int:
    """Print the result and what is missing; return 0 if every trial has ended."""
    failed = [entry for entry in record if entry.state == "failed"]
    for entry in failed[:5]:
        console.print(f"failed: trial {entry.number} ({label(entry.params)}): {entry.error}",
                      markup=False, highlight=False, soft_wrap=True)
    if best is None:
        console.print(f"no trial of search {search.search} has a score; fix the cause, then run "
                      "the same command with --retry")
        return 1
    how = f", mean over {len(best.scores)} seeds" if len(best.scores) > 1 else ""
    console.print(f"best {search.metric} on validation: {best.score:.4f}{how}: trial {best.trial}: "
                  f"{label(best.params)}\n{folder / 'best.yaml'}",
                  markup=False, highlight=False, soft_wrap=True)
    return 0 if all_ended(record, search) else 1
