"""What `launch/sweep.py` does, in order: expand, plan, prepare the data, run, report."""

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from fer.cluster.local import LocalQueue, slots_of_machine
from fer.config.load import apply, load_study, locate, read_based
from fer.config.places import REPOSITORY, cache, data_root, home
from fer.config.schema import Data
from fer.config.study import Study
from fer.config.tree import parse_overrides
from fer.config.validate import validate
from fer.errors import CallerError
from fer.study.contents import (
    Contents,
    build_pack,
    draw_missing_faces,
    packs_of,
    require_sets,
)
from fer.study.expand import Run, cells, expand
from fer.study.folder import read_study, write_study
from fer.study.plan import UNFINISHED, Step, look, plan
from fer.study.progress import StudyProgress
from fer.study.room import LEAST_FREE, check_room
from fer.study.store import Store

DEFAULT_STUDY = "sweeps/paper.yaml"
console = Console()


@dataclass(frozen=True)
class Request:
    """What was typed: names and overrides, where to run, whether to try failures again."""

    names: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    cluster: str = ""
    retry: bool = False
    slots: int = 0


@dataclass(frozen=True)
class Expanded:
    """A study with its runs and what they are evaluated on.

    Attributes:
        data: the data sets as the base configuration has them now.
        splits: `{split: content digest}` of `evaluate_on`.
    """

    study: Study
    data: Data
    runs: list[Run]
    splits: dict[str, str]
    contents: Contents


def expanded(request: Request) -> Expanded:
    """Return the study that a request names, with drawn faces made where they are missing.

    Raises:
        CallerError: anything in the study, the configuration or the data that the caller can mend.
    """
    if len(request.names) > 1:
        raise CallerError(f"one study at a time, not {', '.join(request.names)}")
    if request.cluster not in ("", "local"):
        raise CallerError(f"no profile '{request.cluster}' in slurm/profiles; there are: local")
    study = load_study(request.names[0] if request.names else DEFAULT_STUDY,
                       parse_overrides(request.overrides))
    data = _data_of(study)
    _draw(data)
    require_sets(_sets_of(study), data, data_root())
    check_room(cache(), "FER_CACHE")
    contents = Contents(data_root(), cache())
    splits = {split: contents.split(split, data) for split in study.evaluate_on}
    return Expanded(study, data, expand(study, contents), splits, contents)


def _data_of(study: Study) -> Data:
    """Return the data sets of the base configuration with the study's own settings of them."""
    own = {key: value for key, value in study.set.items() if key.split(".")[0] == "data"}
    tree = apply(read_based(locate(study.base)), own, study.base)
    return validate(Data, tree.get("data", {}), study.base)


def _sets_of(study: Study) -> set[str]:
    """Return the names of the data sets that a study trains and is evaluated on."""
    base = read_based(locate(study.base))
    trained = [{**base, **study.set, **cell}.get("train_on") for cell in cells(study)]
    return ({name for sets in trained for name in str(sets or "").split("+") if name}
            | {split.partition("/")[0] for split in study.evaluate_on})


def _draw(data: Data) -> None:
    if data.drawn is None:
        return
    with Progress(console=console, transient=True) as bars:
        bar = bars.add_task("drawing faces (once)", total=None)
        drawn = draw_missing_faces(
            data, data_root(), lambda done, total: bars.update(bar, completed=done, total=total))
    if drawn:
        console.print(f"drew the faces below {data_root() / 'drawn'} (drawings, not people)")


def print_plan(request: Request) -> None:
    """Print each run and what would be done with it, and change nothing but drawn faces."""
    work = expanded(request)
    store = Store(home())
    steps = plan(work.runs, look(store, work.runs, work.splits))
    for step in steps:
        console.print(f"{step.action:9} {step.run.name}", markup=False, highlight=False,
                      soft_wrap=True)
    console.print(_counts(steps))


def _counts(steps: Sequence[Step]) -> str:
    counts = Counter(step.action for step in steps)
    return f"{len(steps)} runs: " + ", ".join(f"{n} {action}" for action, n in counts.items())


def detach(request: Request) -> None:
    """Start the same sweep in the background, with its output in the study folder."""
    study = load_study(request.names[0] if request.names else DEFAULT_STUDY,
                       parse_overrides(request.overrides))
    log = Store(home()).study(study.study) / "launcher.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [arg for arg in sys.argv if arg != "--detach"]
    with open(log, "a", encoding="utf-8") as handle:
        child = subprocess.Popen([sys.executable, *arguments], stdout=handle, stderr=handle,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
    console.print(f"process {child.pid} works on it; log: {log}\n"
                  f"see it: python launch/status.py {study.study}", soft_wrap=True)


def sweep(request: Request) -> int:
    """Run what is missing of a study and write the report; returns the exit code."""
    work = expanded(request)
    store = Store(home())
    check_room(store.home, "FER_HOME", LEAST_FREE)
    folder = write_study(store, work.study, work.runs, work.data)
    if request.retry:
        _reopen_failed(store, work.runs)
    before = plan(work.runs, look(store, work.runs, work.splits))
    console.print(_counts(before))
    for step in before:
        if step.action in UNFINISHED:
            store.folder(step.run).refuse_other_version()
    if all(step.action == "done" for step in before):
        console.print("every run is trained and evaluated: nothing to train")
    else:
        _build_packs(work, before)
    steps = _run(work, store, folder, request.slots)
    from fer.report.study import report_study  # pandas and matplotlib: only when there is news

    report_study(read_study(store, work.study.study), store, console)
    return _verdict(steps, store)


def _reopen_failed(store: Store, runs: Sequence[Run]) -> None:
    for run in runs:
        folder = store.folder(run)
        if folder.gave_up:
            folder.reopen()


def _build_packs(work: Expanded, steps: Sequence[Step]) -> None:
    """Build missing packs before the jobs start, and count the pictures that are left out."""
    pending = [s.run.config for s in steps if s.action != "done"]
    with Progress(console=console, transient=True) as bars:
        for split, data, size, digest in packs_of(pending, work.splits, work.data, work.contents):
            bar = bars.add_task(f"packing {split} at {size} px", total=None)
            pack = build_pack(split, data, size, digest, work.contents,
                              lambda done, total, bar=bar: bars.update(  # type: ignore[misc]
                                  bar, completed=done, total=total))
            bars.remove_task(bar)
            if line := pack.left_out(split):
                console.print(line, markup=False, soft_wrap=True)


def _run(work: Expanded, store: Store, folder: Path, slots: int) -> list[Step]:
    computes = [run.config.compute for run in work.runs]
    device = "cpu" if all(compute.device == "cpu" for compute in computes) else "auto"
    machine = slots_of_machine(max(compute.threads for compute in computes), device, slots)
    with StudyProgress(store, console) as progress:
        queue = LocalQueue(store, work.runs, work.splits, work.data, folder / "jobs", machine,
                           work.study.resources.runs_per_job, progress.show)
        return queue.work()


def _verdict(steps: Sequence[Step], store: Store) -> int:
    """Print what is missing with its reason and return 0 only when nothing is."""
    bad = [step for step in steps if step.action != "done"]
    for step in bad:
        status = store.folder(step.run).status()
        why = status.error or "a parent of it failed" if step.action == "blocked" else status.error
        console.print(f"{step.action}: {step.run.name}: {why}", markup=False, highlight=False,
                      soft_wrap=True)
        if status.traceback:
            console.print(status.traceback, markup=False, highlight=False, soft_wrap=True)
    if bad:
        console.print(f"{len(bad)} of {len(steps)} runs are missing; when the cause is mended: "
                      f"the same command with --retry")
    return 1 if bad else 0


def repository_path(path: Path) -> str:
    """Return a path as short as the reader can use it, relative to the repository if below."""
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)
