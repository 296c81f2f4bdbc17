"""Messages between a trial's training and the search: epochs, ends, requests to stop."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fer.study.lease import LeaseTaken
from fer.study.run_folder import RunFolder

LEAVE = "leave"  # file in the search's folder that requests trials on any node to save and exit


@dataclass(frozen=True)
class Epoch:
    """One line of `metrics.jsonl`, and whether the run ends with it."""

    facts: Mapping[str, Any]
    last: bool


@dataclass(frozen=True)
class End:
    """End of the epochs: `done`, `failed` (see the run's status), `left` (saved and exited), or
    `stopped` before."""

    outcome: Literal["done", "failed", "left", "stopped"]


def mark_stopped(folder: RunFolder) -> None:
    """Mark an unfinished run that no process works on as stopped."""
    status = folder.status()
    if folder.trained or folder.needs_retry or status.state == "stopped":
        return
    try:
        folder.lease.take()
    except LeaseTaken:  # another search or a study is training it
        return
    folder.write_status(replace(status, state="stopped"))
    folder.lease.release()
