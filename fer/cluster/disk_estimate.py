"""The disk space and the files that a study will take, before anything is written.

Not for whether there is room (`fer.study.disk_space`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.config.epochs import trained_epochs
from fer.config.run import RunConfig
from fer.study.plan import Step
from fer.transfer.model_inspection import anatomies

OPTIMIZER_STATES = {"radam": 2, "adamw": 2, "sgd": 1}  # tensors beside each parameter
FILES = 15  # config, submit, status, lease, metrics, train, env, log, folders
FILES_A_CHECKPOINT = 6  # its folder, weights, optimiser (2), state, manifest
FILES_A_SPLIT = 2  # predictions and results
SPLIT_FOLDERS = 2
EVENTS = 3  # folder, events, hparams
EVENT_BYTES_AN_EPOCH = 60_000  # pictures of mistakes, confusion matrix
SMALL_BYTES = 60_000
PREDICTION_BYTES = 120  # of one picture: names and logits, compressed


@dataclass(frozen=True)
class Space:
    """Bytes and files that runs leave, and the most that jobs need beside them while they run."""

    bytes: int
    files: int
    bytes_while_running: int
    files_while_running: int


def space(steps: Sequence[Step], pictures: int, jobs_at_a_time: int, cache: Path) -> Space:
    """Return what the untrained runs of a plan will take.

    Args:
        pictures: in all the splits that a run is evaluated on.
        jobs_at_a_time: the most jobs that run together.
        cache: `$FER_CACHE`, where sizes are remembered.
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
        kept = config.keep.checkpoints + 2  # the best, and the one being written
        state = whole + _states(config) * trained
        running.append((kept * state - 2 * whole, (kept - 2) * FILES_A_CHECKPOINT + 4))
    running = sorted(running, reverse=True)[:jobs_at_a_time]
    return Space(left, files, sum(b for b, _ in running), sum(f for _, f in running))


def _states(config: RunConfig) -> int:
    """Return how many tensors an optimiser keeps beside each parameter, in the phase with most."""
    return max((OPTIMIZER_STATES[config.optim_of(phase).name] for phase in config.recipe.phases),
               default=0)
