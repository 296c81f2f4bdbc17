"""What a run writes while it trains: metrics, TensorBoard events, status and heartbeat.

Only the first rank writes. Append-only files are cut back to the checkpoint's step on resume, so
that a run which was killed leaves the same lines as one that was not.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fer.atomic_io import write_text
from fer.config.run import RunConfig
from fer.data.pixels import Source
from fer.study.run_folder import RunFolder, Status
from fer.study.slurm_jobs import job_of_process, node_name
from fer.train.tensorboard import Events
from fer.train.train_state import Progress

HEARTBEAT_SECONDS = 2.0
RGB = 3


class Cancelled(RuntimeError):
    """Somebody asked this run to stop; it can go on later from its last checkpoint."""


class Preempted(RuntimeError):
    """This process was asked to leave; the run goes on where it stood when it is started again."""


class Stopped(RuntimeError):
    """A search has seen enough of this run; it can go on later from its last checkpoint."""


class Stalled(RuntimeError):
    """The run was started again and again, and never came further."""


class RateLimited:
    """A question to the disk that may be put at any time, and is passed on every two seconds."""

    def __init__(self, question: Callable[[], bool]) -> None:
        self._question = question
        self._put = time.monotonic()

    def asked(self) -> bool:
        """Return the answer; no where it is too early to ask again."""
        if time.monotonic() - self._put < HEARTBEAT_SECONDS:
            return False
        self._put = time.monotonic()
        return self._question()


class RunLogger:
    """The running record of one run.

    Args:
        folder: the run folder.
        config: its configuration.
        total_steps: optimiser steps if nothing stops early.
        writes: whether this process is the one that writes.
        on_status: called with each new status, for a progress display in this process.
        max_stalls: how many restarts in a row may end where they began; None for any number.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        writes: bool,
        on_status: Callable[[Status], None] | None = None,
        max_stalls: int | None = None,
    ) -> None:
        self.folder = folder
        self.config = config
        self.writes = writes
        self.on_status = on_status
        self.max_stalls = max_stalls
        self.before = folder.status()
        job, _ = job_of_process() or (str(os.getpid()), 0)
        self.status = replace(self.before, state="running", node=node_name(), error="",
                              traceback="", job_id=job, begun=False, ended=False)
        self._opened, self._said = time.monotonic(), float("-inf")
        self._cancel = RateLimited(lambda: folder.cancel_asked)
        self._stop = RateLimited(lambda: folder.stop_asked)
        self._events: Events | None = None

    def check_lease(self) -> None:
        """Raise `LeaseLost` unless this process still owns the run."""
        self.folder.lease.check()

    def truncate_to(self, step: int, epoch: int) -> None:
        """Drop what was written after the checkpoint at `step`, and open the event file there.

        Raises:
            Stalled: the last starts all began at this very step.
        """
        before = self.before
        stalled = before.begun and before.restarts > 0 and before.first_step == step
        stalls = before.stalls + 1 if stalled else 0 if before.begun else before.stalls
        self.log(f"begins at step {step} (epoch {epoch}) on {self.status.node}")
        self.write_status(replace(self.status, first_step=step, step=step, epoch=epoch, begun=True,
                                  restarts=before.restarts + int(before.begun), stalls=stalls))
        if not self.writes:
            return
        if self.max_stalls is not None and stalls >= self.max_stalls:
            raise Stalled(f"{stalls} restarts in a row ended without a step after step {step}")
        path = self.folder.path / "metrics.jsonl"
        if path.is_file():
            kept = [line for line in path.read_text().splitlines(keepends=True)
                    if _step_of(line) <= step]
            write_text(path, "".join(kept))
        if self.config.keep.tensorboard:
            self._events = Events(self.folder.path / "tb", step, self.config.keep.sample_images)

    def write_heartbeat(self, progress: Progress) -> None:
        """Show the progress here, and publish it at most every two seconds.

        Raises:
            LeaseLost: another process took the run over; its status is not written over.
        """
        if self.writes and time.monotonic() - self._said > HEARTBEAT_SECONDS:
            self.check_lease()
            self.write_status(self.status_at(progress))
        elif self.on_status is not None:
            self.on_status(self.status_at(progress))

    def cancel_asked(self) -> bool:
        """Whether somebody asked the run to stop; the disk is asked every two seconds."""
        return self.writes and self._cancel.asked()

    def stop_asked(self) -> bool:
        """Whether a search has seen enough of the run; the disk is asked as seldom."""
        return self.writes and self._stop.asked()

    def status_at(self, progress: Progress) -> Status:
        """Return the status of a run that is there now."""
        recipe = self.config.recipe
        return replace(self.status, step=progress.step, epoch=progress.epoch,
                       phase=recipe.combine.how if recipe.combine else
                       recipe.phases[progress.phase].name,
                       metric=_metric(progress, self.config))

    def write_status(self, status: Status) -> None:
        """Publish a status with the present time as its heartbeat; new notes go to the log."""
        for note in status.notes if status.notes != self.status.notes else []:
            self.log(note)
        self._said = time.monotonic()  # not by the wall clock, which may be set back
        self.status = replace(status, heartbeat=time.time(), seconds=self.before.seconds
                              + self._said - self._opened)
        if self.writes:
            self.folder.write_status(self.status)
        if self.on_status is not None:
            self.on_status(self.status)

    def log(self, line: str) -> None:
        """Append a line with the time to `logs/train.log`, which is for people only."""
        if self.writes:
            path = self.folder.path / "logs" / "train.log"
            path.parent.mkdir(exist_ok=True)
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def epoch(
        self, facts: dict[str, Any], labels: np.ndarray, logits: np.ndarray, val: Source
    ) -> None:
        """Append an epoch's line and its events."""
        if not self.writes:
            return
        self.check_lease()
        with open(self.folder.path / "metrics.jsonl", "a", encoding="utf-8") as handle:
            handle.write(json.dumps(facts, allow_nan=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        self.log(" ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                          for name, value in facts.items()))
        if self._events is not None:
            self._events.epoch(facts, labels, logits, self.config.data.classes, val)

    def samples(self, images: torch.Tensor) -> None:
        """Show the first pictures that are trained on; features are no pictures."""
        if self._events is not None and images.dim() == 4 and images.shape[1] == RGB:
            self._events.samples(images)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _metric(progress: Progress, config: RunConfig) -> float | None:
    best = progress.best.score
    return -best if best is not None and config.train.select == "loss" else best


def _step_of(line: str) -> int:
    """Return the step of a line; one cut short by a crash counts as after everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62
