"""What submitit carries to the process that works: plain values, and torch only over there."""

from collections.abc import Mapping, Sequence
from typing import Any


def do_runs(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Work on run folders one after another; returns an outcome each (see `fer.engine.job.work`).

    Args:
        tasks: each with `folder` (path), `evaluate` ({split: digest}) and `data` (the data sets
            as a plain tree).
    """
    # imported here: this function is submitted from the login node, which does not pay for torch
    from pathlib import Path

    from fer.config.schema import Data
    from fer.engine.job import Task, work

    return work([Task(Path(task["folder"]), task["evaluate"], Data.model_validate(task["data"]))
                 for task in tasks])
