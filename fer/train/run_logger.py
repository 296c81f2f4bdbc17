"""Logging of a run during training: metrics, TensorBoard events, status and heartbeat.

Only the first rank writes. Append-only files are truncated to the checkpoint's step on resume, so
an interrupted run leaves the same lines as an uninterrupted one.
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
from fer.study.job_environment import job_of_process, node_name
from fer.study.run_folder import RunFolder
from fer.study.run_records import Status
from fer.train.callbacks import OnStatus
from fer.train.tensorboard import Events
from fer.train.train_state import Progress
from fer.untrusted_io import parse_json

HEARTBEAT_SECONDS = 2.0
RGB = 3


class Cancelled(RuntimeError):
    """The run was cancelled; it can be resumed from its last checkpoint."""


class Preempted(RuntimeError):
    """Save and exit requested; the run resumes where it stopped when it is started again."""


class Stopped(RuntimeError):
    """A search stopped this run early; it can be resumed from its last checkpoint."""


class Stalled(RuntimeError):
    """The run was restarted repeatedly without progress."""


class RateLimited:
    """A check on disk that can be polled at any time and is executed every two seconds at most."""

    def __init__(self, check: Callable[[], bool]) -> None:
        self._check = check
        self._last = time.monotonic()

    def asked(self) -> bool:
        """Return the result of the check; False if it is too early to check again."""
        if time.monotonic() - self._last < HEARTBEAT_SECONDS:
            return False
        self._last = time.monotonic()
        return self._check()


class RunLogger:
    """The log of one run.

    Args:
        folder: the run folder.
        config: its configuration.
        writes: whether this process writes the files.
        on_status: called with each new status, for a progress display in this process.
        max_stalls: maximum number of consecutive restarts without progress; None for no limit.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        writes: bool,
        on_status: OnStatus | None = None,
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
        self._opened, self._published = time.monotonic(), float("-inf")
        self._cancel = RateLimited(lambda: folder.cancel_asked)
        self._stop = RateLimited(lambda: folder.stop_asked)
        self._events: Events | None = None

    def check_lease(self) -> None:
        """Raise `LeaseLost` unless this process still owns the run."""
        self.folder.lease.check()

    def truncate_to(self, step: int, epoch: int) -> None:
        """Drop lines written after the checkpoint at `step`, and open the event file there.

        Raises:
            Stalled: the last `max_stalls` restarts all began at this step.
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
        """Report the progress to `on_status`, and publish it at most every two seconds.

        Raises:
            LeaseLost: another process took over the run; its status is not overwritten.
        """
        if self.writes and time.monotonic() - self._published > HEARTBEAT_SECONDS:
            self.check_lease()
            self.write_status(self.status_at(progress))
        elif self.on_status is not None:
            self.on_status(self.status_at(progress))

    def cancel_asked(self) -> bool:
        """Return whether cancellation was requested; checks the disk every two seconds at most."""
        return self.writes and self._cancel.asked()

    def stop_asked(self) -> bool:
        """Return whether a search stops the run early; checks the disk equally rarely."""
        return self.writes and self._stop.asked()

    def status_at(self, progress: Progress) -> Status:
        """Return the status at `progress`."""
        recipe = self.config.recipe
        return replace(self.status, step=progress.step, epoch=progress.epoch,
                       phase=recipe.combine.how if recipe.combine else
                       recipe.phases[progress.phase].name,
                       metric=_metric(progress, self.config))

    def write_status(self, status: Status) -> None:
        """Publish a status with the current time as heartbeat; log new notes."""
        for note in status.notes if status.notes != self.status.notes else []:
            self.log(note)
        self._published = time.monotonic()  # the wall clock may be set back
        self.status = replace(status, heartbeat=time.time(), seconds=self.before.seconds
                              + self._published - self._opened)
        if self.writes:
            self.folder.write_status(self.status)
        if self.on_status is not None:
            self.on_status(self.status)

    def log(self, line: str) -> None:
        """Append a line with a time stamp to `logs/train.log`, which no code reads."""
        if self.writes:
            path = self.folder.path / "logs" / "train.log"
            path.parent.mkdir(exist_ok=True)
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def epoch(
        self, facts: dict[str, Any], labels: np.ndarray, logits: np.ndarray, val: Source
    ) -> None:
        """Append an epoch's metrics and events."""
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
        """Write the first training images to TensorBoard; features are skipped."""
        if self._events is not None and images.dim() == 4 and images.shape[1] == RGB:
            self._events.samples(images)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()
            self._events = None


def _metric(progress: Progress, config: RunConfig) -> float | None:
    best = progress.best.score
    return -best if best is not None and config.train.score == "loss" else best


def _step_of(line: str) -> int:
    """Return the step of a line; a line truncated by a crash sorts after all others."""
    try:
        return int(parse_json(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62
