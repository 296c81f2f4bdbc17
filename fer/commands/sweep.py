"""The command behind `launch/sweep.py`: expand, plan, prepare the data, run, report."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fer.cluster.cancel import reopen
from fer.cluster.dry_run import counts, print_plan
from fer.cluster.local_queue import LocalQueue, slots_of_machine
from fer.cluster.request import ExpandedStudy, Request, expand_request
from fer.cluster.slurm_queue import SlurmQueue
from fer.commands.board import beside
from fer.config.paths import home
from fer.console import Terminal
from fer.errors import plural
from fer.locks import check_locks
from fer.machine import user_label
from fer.progress import shown
from fer.safe_path import python
from fer.study.changed_inputs import lines_again
from fer.study.disk_space import LEAST_FREE, check_room
from fer.study.expand import Run
from fer.study.grad_cam_runs import draw_in_process
from fer.study.inputs import build_pack, packs_of
from fer.study.live_table import StudyProgress
from fer.study.plan import UNFINISHED, Step, doubts, plan
from fer.study.queue_view import look
from fer.study.run_folder import Store
from fer.study.study_folder import read_study, write_study

MOST_LINES = 5  # on why runs are trained again

console = Terminal()


def dry_run(request: Request) -> None:
    """Print each run and what would be done with it; write nothing."""
    profile = request.profile()
    print_plan(expand_request(request.study(), console, draw=False), Store(home()), request.place,
               profile, console)


def sweep(request: Request) -> int:
    """Run what is missing of a study and write the report; return the exit code."""
    profile = request.profile()
    if profile is None and not request.follow:
        return _detach(request)
    work = expand_request(request.study(), console)
    store = Store(home())
    check_room(store.home, "FER_HOME", LEAST_FREE)
    check_locks(store.home, "FER_HOME")
    folder = write_study(store, work.study, work.runs, work.data)
    if request.retry:
        reopen_failed(store, work.runs)
    before = plan(work.runs, look(store, work.runs, work.splits))
    console.print(counts(before))
    for line in doubts(before):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    again = lines_again([step.run for step in before if step.action == "train"], store,
                        work.contents)
    for line in [*again[:MOST_LINES], *([f"and {plural(len(again) - MOST_LINES, 'run')} more"]
                                        if len(again) > MOST_LINES else [])]:
        console.print(line, highlight=False, soft_wrap=True)
    for step in before:
        if step.action in UNFINISHED:
            store.folder(step.run).refuse_other_version()
    if all(step.action == "done" for step in before):
        console.print("every run is trained and evaluated: nothing to train")
        steps = before
    elif profile is None:
        _build_packs(work, before)
        with beside(folder, request.tensorboard):
            steps = _run_here(work, store, folder, request.slots)
    else:
        cluster = SlurmQueue(store, work, request.place, profile, console)
        left = cluster.submit().limit
        if not request.follow:
            console.print(f"status: python launch/status.py {work.study.study}", soft_wrap=True)
            return 1 if left else 0
        with beside(folder, request.tensorboard):
            steps = cluster.follow()
    from fer.report.study_report import (
        report_study,  # imports pandas and matplotlib: only when needed
    )

    found = read_study(store, work.study.study)
    if profile is None and (line := draw_in_process(found, store)):  # on SLURM the last job does it
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    report_study(found, store, console)
    return _verdict(steps, store)


def _detach(request: Request) -> int:
    """Start the same sweep in the background, logging to the study folder."""
    study = request.study().study
    log = Store(home()).study(study) / "launcher.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [arg for arg in sys.argv if arg != "--detach"]
    with open(log, "a", encoding="utf-8") as handle:
        child = subprocess.Popen(python(*arguments), stdout=handle, stderr=handle,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
    console.print(f"started process {child.pid}; log: {log}\n"
                  f"status: python launch/status.py {study}", soft_wrap=True)
    return 0


def reopen_failed(store: Store, runs: Sequence[Run]) -> None:
    """Make failed and cancelled runs ready to retry."""
    found = look(store, runs, {})
    _, ending = reopen(store, [folder for run in runs if (folder := store.folder(run)).needs_retry
                               or found[run.id].failed])
    print("".join(f"{line}\n" for line in ending), end="")


def _build_packs(work: ExpandedStudy, steps: Sequence[Step]) -> None:
    """Build missing packs before the jobs start, and report the images left out."""
    pending = [s.run.config for s in steps if s.action != "done"]
    for split, data, size, digest in packs_of(pending, work.splits, work.data, work.contents):
        with shown(f"packing {split} at {size} px") as progress:
            pack = build_pack(split, data, size, digest, work.contents, progress)
        if line := pack.left_out(split):
            console.print(line, markup=False, soft_wrap=True)


def _run_here(work: ExpandedStudy, store: Store, folder: Path, slots: int) -> list[Step]:
    computes = [run.config.compute for run in work.runs]
    device = "cpu" if all(compute.device == "cpu" for compute in computes) else "auto"
    resources = work.study.resources
    machine = slots_of_machine(max(compute.threads for compute in computes), device, slots,
                               resources.ranks)
    with StudyProgress(store, console) as progress:
        queue = LocalQueue(store, work.runs, work.splits, work.data,
                           folder / "jobs" / user_label(os.geteuid()), machine,
                           resources.runs_per_job, progress.show)
        return queue.work()


def _verdict(steps: Sequence[Step], store: Store) -> int:
    """Print each missing run with its reason; return 0 only if none is missing."""
    bad = [step for step in steps if step.action != "done"]
    for step in bad:
        status = store.folder(step.run).status()
        why = status.error or "a parent run failed" if step.action == "blocked" else status.error
        console.print(f"{step.action}: {step.run.name}: {why}", markup=False, highlight=False,
                      soft_wrap=True)
        if status.traceback:
            console.print(status.traceback, markup=False, highlight=False, soft_wrap=True)
    if bad:
        verb = "is" if len(bad) == 1 else "are"
        console.print(f"{len(bad)} of {plural(len(steps), 'run')} {verb} missing; fix the cause, "
                      "then run the same command with --retry")
    return 1 if bad else 0
