"""What submitit carries to the processes that work on this machine: plain values, no torch yet."""

from collections.abc import Mapping, Sequence
from typing import Any


def do_runs(tasks: Sequence[Mapping[str, Any]], port: int = 0) -> list[str]:
    """Work on run folders one after another; returns an outcome each (see `fer.train.worker.work`).

    Asked to end (SIGTERM), it saves and leaves.

    Args:
        tasks: each with `folder` (path), `evaluate` ({split: digest}) and `data` (the data sets
            as a plain tree).
        port: of loopback, at which several ranks find each other.
    """
    # imported here: this function is submitted from the login node, which does not pay for torch
    import os
    from pathlib import Path

    import submitit

    from fer.cluster.dist_env import local_ranks
    from fer.cluster.worker import StopFlag
    from fer.config.run import Data

    stop = StopFlag()  # in place before the long imports begin
    job = submitit.JobEnvironment()
    os.environ.update(local_ranks(job.global_rank, job.num_tasks, port))
    os.environ["FER_START"] = f"local-{job.job_id}"
    from fer.train.worker import Task, Terms, work

    return work([Task(Path(task["folder"]), task["evaluate"], Data.model_validate(task["data"]))
                 for task in tasks], Terms(stop=stop))
