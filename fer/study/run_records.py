"""Records in a run folder that tables read too: `status.json`, `submit.json`, `env.json`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from fer.untrusted_io import as_object, parse_json, plain_name, record

State = Literal["pending", "queued", "running", "preempted", "requeued", "stopped", "blocked",
                "lost", "done", "failed", "cancelled",
                "starting", "suspended", "orphaned"]  # these three only in tables


@dataclass(frozen=True)
class Status:
    """Content of `status.json`, written by the job.

    `heartbeat` is in seconds since 1970; `metric` is the best selection metric so far;
    `first_step` is the step at which the current start began, `begun` whether it has finished its
    preparations. `restarts` counts the starts that found a checkpoint, `stalls` the consecutive
    starts without progress. `ended` says that its job was ended from outside. `seconds` is the
    time that processes worked on the run.
    """

    state: State = "pending"
    step: int = 0
    first_step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    phase: str = ""
    metric: float | None = None
    heartbeat: float = 0.0
    job_id: str = ""
    node: str = ""
    restarts: int = 0
    ended: bool = False
    stalls: int = 0
    begun: bool = False
    seconds: float = 0.0
    error: str = ""
    traceback: str = ""
    notes: list[str] = field(default_factory=list)


def parse_status(text: str | None) -> Status:
    """Parse the text of `status.json`; `pending` if it is missing or unreadable."""
    try:
        return record(Status, parse_json(text or ""))
    except ValueError:
        return Status()


@dataclass(frozen=True)
class _Submit:
    """What is read of `submit.json`; it may have more."""

    run_id: str = ""
    config_id: str = ""
    time: float = 0.0
    cluster: str = ""
    submission: str | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        if (self.submission is None) != (self.index is None):
            raise ValueError("a submission without an index, or the reverse")
        for part in self.submission.split("/") if self.submission is not None else ():
            plain_name(part)  # below $FER_HOME


def parse_submit(text: str | bytes | None) -> dict[str, Any]:
    """Parse the text of `submit.json`; empty if it is missing or unreadable."""
    try:
        content = as_object(parse_json(text or ""), "submit.json")
        record(_Submit, content)
    except ValueError:
        return {}
    return {key: value for key, value in content.items() if value is not None}


@dataclass(frozen=True)
class Environment:
    """What is read of `env.json` alone."""

    world_size: int
