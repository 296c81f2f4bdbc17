"""Output of `--dry-run`: runs, plan, the scripts to be submitted, disk space and time."""

import os
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from fer.cluster.arrays import Dispatch, make_arrays
from fer.cluster.estimate import History, makespan, space
from fer.cluster.limits import (
    check_partitions,
    max_array_size,
    refuse_impossible,
    report_minutes,
    within_limits,
)
from fer.cluster.request import ExpandedStudy
from fer.cluster.sbatch import array_script, report_script
from fer.cluster.slurm_queue import left_lines
from fer.cluster.submit import (
    SCRIPTS,
    queued_arrays,
    site_of,
    submission_folders,
)
from fer.config.paths import REPOSITORY, cache
from fer.config.profile import Profile
from fer.errors import plural
from fer.study.changed_inputs import folders_by_label, why_again
from fer.study.expand import Run
from fer.study.plan import Step, plan
from fer.study.planned_comparisons import power_lines
from fer.study.queue_view import look
from fer.study.run_folder import Store
from fer.study.snapshot import snapshot_folder


def print_plan(
    work: ExpandedStudy, store: Store, place: str, profile: Profile | None, console: Console
) -> None:
    """Print everything a sweep would do, without doing it.

    Args:
        profile: profile of the cluster; None for this machine.
    """
    steps = plan(work.runs, look(store, work.runs, work.splits))
    finished = folders_by_label(store)
    for step in steps:
        _print(console, f"{step.action:9} {step.run.name}")
        if step.action in ("train", "wait") and (
                why := why_again(step.run, finished, work.contents)):
            _print(console, f"{'':9} {why}")
    console.print(counts(steps))
    for line in power_lines(work.study, work.runs, work.data, work.contents):
        _print(console, line)
    if all(step.action == "done" for step in steps):
        return
    if profile:
        refuse_impossible(work.study.resources, place, profile)
        partitions = check_partitions(place, profile, work.study.resources.nodes)
        profile = within_limits(profile, partitions)
    limit = max_array_size() if profile else len(steps) + 1
    history = History(store, work.contents, work.study.resources.ranks)
    made = make_arrays(steps, work.study.resources, history.seconds, limit,
                       profile.time if profile else None)
    for line in left_lines(made):
        _print(console, line)
    if profile:
        _print_scripts(made, queued_arrays(steps), work, store, profile,
                       report_minutes(profile, partitions), console)
    slots = profile.array_parallelism if profile else len(os.sched_getaffinity(0))
    _print(console, _space(steps, work, slots))
    for line in time_lines(steps, made, history, slots, work.study.resources.ranks):
        _print(console, line)


def counts(steps: Sequence[Step]) -> str:
    """Return the number of runs in each state, as one line."""
    by_action = Counter(step.action for step in steps)
    listed = ", ".join(f"{n} {action}" for action, n in by_action.items())
    return f"{plural(len(steps), 'run')}: {listed}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_scripts(made: Dispatch, others: Sequence[str], work: ExpandedStudy, store: Store,
                   profile: Profile, report_time: int, console: Console) -> None:
    scripts = store.study(work.study.study) / SCRIPTS
    site = site_of(work.study.study, snapshot_folder(REPOSITORY, scripts), profile)
    folders = submission_folders(scripts, len(made.arrays))
    ids = {array.number: placeholder(array.number) for array in made.arrays}
    for array, submission in zip(made.arrays, folders, strict=False):
        _print(console, f"\n# array {array.number}: {array.runs} runs in {len(array.jobs)} jobs: "
                        f"{submission.script}")
        _print(console, array_script(array, submission.folder, submission.comment, profile, site,
                                     ids))
    report = folders[-1]
    _print(console, f"\n# the report, when all of them have ended: {report.script}")
    _print(console, report_script(report.folder, report.comment, profile, site,
                                  ":".join([*ids.values(), *others]), report_time))


def placeholder(number: int) -> str:
    """Return a placeholder for the job id of an array that is not submitted yet."""
    return f"JOB_ID_OF_ARRAY_{number}"


def _space(steps: Sequence[Step], work: ExpandedStudy, slots: int) -> str:
    pictures = sum(work.contents.pictures(split, work.data) for split in work.splits)
    taken = space(steps, pictures, slots, cache())
    return (f"disk: at most {_bytes(taken.bytes)} in {taken.files:,} files when all is done, and "
            f"another {_bytes(taken.bytes_while_running)} in {taken.files_while_running:,} files "
            f"while jobs run (weights are computed, the rest is a rule of thumb)")


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def time_lines(
    steps: Sequence[Step], made: Dispatch, history: History, slots: int, ranks: int
) -> list[str]:
    """Return computing and wall time with their basis, or that they are unknown."""
    runs = [step.run for array in made.arrays for job in array.jobs.values() for step in job
            if step.action != "evaluate"]
    times = {run.id: history.seconds(run) for run in runs}
    known = {key: seconds for key, seconds in times.items() if seconds is not None}
    unknown = sorted({_kind(run) for run in runs if run.id not in known})
    lines = []
    if known:
        measured = sum({_kind(run): len(history.like(run)) for run in runs}.values())
        unit = ("hours of computing" if all(run.config.compute.device == "cpu" for run in runs)
                else "GPU-hours")
        lines.append(f"time: {sum(known.values()) * ranks / 3600:.2f} {unit} for "
                     f"{plural(len(known), 'run')}, from {plural(measured, 'measured run')} of the "
                     "same backbones and sizes")
    if unknown:
        lines.append(f"time: unknown for {', '.join(unknown)}: no similar run was measured here")
    elif known:
        wall = makespan(made.arrays, lambda run: times.get(run.id) or 0.0, slots)
        lines.append(f"time: {_clock(wall)} until the last run ends, with "
                     f"{plural(slots, 'job')} at a time and no queueing")
    return lines


def _kind(run: Run) -> str:
    backbone = run.config.backbone
    return f"{backbone.name} at {backbone.input_size} px"


def _clock(seconds: float) -> str:
    mins = round(seconds / 60)
    return f"{mins // 60}:{mins % 60:02} hours" if mins >= 60 else f"{max(mins, 1)} minutes"
