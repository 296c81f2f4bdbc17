"""Messages between a trial's training and the search: epochs, ends, requests to stop."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fer.study.lease import LeaseTaken
from fer.study.run_folder import RunFolder

LEAVE = "leave"  # a file in the search's folder that asks trials, on any node, to save and leave


@dataclass(frozen=True)
class Epoch:
    """One line of `metrics.jsonl`, and whether the run ends with it."""

    facts: Mapping[str, Any]
    last: bool


@dataclass(frozen=True)
class End:
    """There are no more epochs: `done`, `failed` (why is in the run's status), `left`, or `stopped`
    before."""

    outcome: Literal["done", "failed", "left", "stopped"]


def mark_stopped(folder: RunFolder) -> None:
    """Let a run that nobody works on say that it was stopped, where it could go on."""
    status = folder.status()
    if folder.trained or folder.needs_retry or status.state == "stopped":
        return
    try:
        folder.lease.take()
    except LeaseTaken:  # another search or a study trains it on
        return
    folder.write_status(replace(status, state="stopped"))
    folder.lease.release()
