"""What passes between a trial's training and the search: epochs, ends, the wish to leave. Light."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
