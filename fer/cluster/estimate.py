"""Estimates of a study's disk space, number of files and running time.

Times come from earlier runs of the same backbone and size, and are unknown without any. A simulated
schedule turns the runs' times into the time until the last one ends. `fer.study.disk_space` checks
whether there is enough space.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from statistics import median

from fer.cluster.arrays import JobArray
from fer.config.augmentation import PASSES
from fer.config.run import RunConfig, trained_epochs
from fer.errors import CallerError
from fer.study.expand import Run
from fer.study.inputs import InputDigests
from fer.study.plan import Step
from fer.study.run_folder import RunFolder, Store
from fer.transfer.model_inspection import anatomies

MOST_READ = 8  # measured runs read per backbone, the first by name
OPTIMIZER_STATES = {"radam": 2, "adamw": 2, "sgd": 1}  # tensors beside each parameter
FILES = 15  # config, submit, status, lease, metrics, train, env, log, folders
FILES_A_CHECKPOINT = 6  # its folder, weights, optimiser (2), state, manifest
FILES_A_SPLIT = 2  # predictions and results
SPLIT_FOLDERS = 2
EVENTS = 3  # folder, events, hparams
EVENT_BYTES_AN_EPOCH = 60_000  # images of errors, confusion matrix
SMALL_BYTES = 60_000
PREDICTION_BYTES = 120  # per image: names and logits, compressed


@dataclass(frozen=True)
class Measured:
    """Configuration, total seconds and steps of one finished run."""

    config: RunConfig
    config_id: str
    seconds: float
    steps: int
    ranks: int


class History:
    """Running times of earlier runs in a store with the same number of ranks."""

    def __init__(self, store: Store, contents: InputDigests, ranks: int = 1) -> None:
        self.store, self.contents, self.ranks = store, contents, ranks
        self._by_backbone: dict[str, list[Measured]] = {}

    def seconds(self, run: Run) -> float | None:
        """Return the expected seconds of a run; None if no similar run was measured."""
        found = self.like(run)
        if not found:
            return None
        same = [one.seconds for one in found if one.config_id == run.config_id]
        if same:
            return median(same)
        return median(one.seconds / one.steps for one in found) * self.steps(run.config)

    def like(self, run: Run) -> list[Measured]:
        """Return measured runs of the same backbone, size, batch, precision and ranks."""
        return [one for one in self._measured(run.config.backbone.name)
                if one.ranks == self.ranks and _kind(one.config) == _kind(run.config)]

    def steps(self, config: RunConfig) -> int:
        """Return the optimiser steps of a run without early stopping."""
        pictures = sum(self.contents.pictures(f"{name}/train", config.data)
                       for name in config.train_sets)
        epochs = trained_epochs(config)
        return epochs * ceil(pictures * PASSES[config.train.augment] / config.train.batch_size)

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.store.names):
            found[name.split("-")[0]].append(name)
        return found

    def _measured(self, backbone: str) -> list[Measured]:
        if backbone not in self._by_backbone:
            names = [name for name in self._names[backbone.split("-")[0]]
                     if name.startswith(f"{backbone}-")]
            folders = (RunFolder(self.store.runs / name) for name in names)
            done = (one for folder in folders if (one := _read(folder)) is not None)
            self._by_backbone[backbone] = [
                one for _, one in zip(range(MOST_READ), done, strict=False)]
        return self._by_backbone[backbone]


def _read(folder: RunFolder) -> Measured | None:
    status = folder.status()
    if status.state != "done" or status.seconds <= 0 or status.step <= 0:
        return None
    try:
        ranks, config = folder.ranks, folder.config
    except CallerError:  # damaged, or of another version of the project
        return None
    if ranks is None or config.recipe.combine is not None:  # its steps are not comparable
        return None
    return Measured(config, str(folder.submitted.get("config_id", "")), status.seconds,
                    status.step, ranks)


def _kind(config: RunConfig) -> tuple[object, ...]:
    """Return the main factors of a step's time."""
    backbone, compute = config.backbone, config.compute
    return (backbone.arch, str(backbone.options), backbone.input_size, config.train.batch_size,
            config.train.micro_batch, compute.precision, compute.device)


def makespan(arrays: Sequence[JobArray], seconds: Callable[[Run], float], slots: int) -> float:
    """Return the time until the last job ends if `slots` jobs run at a time, in seconds.

    Jobs start in the order of submission, each when a slot is free and its dependencies have
    ended, as in SLURM with equal priorities.
    """
    ended: dict[tuple[int, int], float] = {}
    free = [0.0] * slots
    heapq.heapify(free)
    for array in arrays:
        for index in sorted(array.jobs):
            ready = max((ended[other] for other in _before(array, index)), default=0.0)
            start = max(ready, heapq.heappop(free))
            steps, lanes = array.jobs[index], array.shape.lanes
            ended[array.number, index] = start + max(
                sum(seconds(step.run) for step in steps[lane::lanes]) for lane in range(lanes))
            heapq.heappush(free, ended[array.number, index])
    return max(ended.values(), default=0.0)


def _before(array: JobArray, index: int) -> list[tuple[int, int]]:
    if array.corresponds is not None:
        return [(array.corresponds, index)]
    return [(ref.array, ref.index) for ref in array.after if not isinstance(ref, str)]


@dataclass(frozen=True)
class Space:
    """Bytes and files that runs leave, and the most that running jobs need in addition."""

    bytes: int
    files: int
    bytes_while_running: int
    files_while_running: int


def space(steps: Sequence[Step], pictures: int, jobs_at_a_time: int, cache: Path) -> Space:
    """Return the space needed by the untrained runs of a plan.

    Args:
        pictures: number of images in all splits that a run is evaluated on.
        jobs_at_a_time: maximum number of concurrent jobs.
        cache: `$FER_CACHE`, where sizes are cached.
    """
    runs = [step for step in steps if step.action in ("train", "wait", "queued")]
    found = anatomies([step.run.config for step in runs], cache)
    left = files = 0
    running: list[tuple[int, int]] = []
    for step, anatomy in zip(runs, found, strict=True):
        config, whole, trained = step.run.config, anatomy["bytes"], anatomy["trained"]
        epochs = trained_epochs(config)
        events = config.keep.tensorboard
        splits = len(step.evaluate)
        left += (2 * whole + SMALL_BYTES + pictures * PREDICTION_BYTES * bool(splits)
                 + EVENT_BYTES_AN_EPOCH * epochs * events)
        files += (FILES + 2 * (FILES_A_CHECKPOINT - 2) + FILES_A_SPLIT * splits
                  + SPLIT_FOLDERS * len({name.split("/")[0] for name in step.evaluate})
                  + EVENTS * events)
        kept = config.keep.checkpoints + 2  # plus the best and the one being written
        state = whole + _states(config) * trained
        running.append((kept * state - 2 * whole, (kept - 2) * FILES_A_CHECKPOINT + 4))
    running = sorted(running, reverse=True)[:jobs_at_a_time]
    return Space(left, files, sum(b for b, _ in running), sum(f for _, f in running))


def _states(config: RunConfig) -> int:
    """Return the largest number of optimiser tensors per parameter over all phases."""
    return max((OPTIMIZER_STATES[config.optim_of(phase).name] for phase in config.recipe.phases),
               default=0)
