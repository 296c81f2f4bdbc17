"""The SLURM job in which this process runs, from its environment."""

import os
import socket
from collections.abc import Mapping

from fer.machine import user_name
from fer.study.slurm_jobs import JobIdentity


def job_of_process(environment: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return (job id, restart) of the job in which this process works on runs, if any.

    Only for jobs that this project submitted (FER_JOB is set by `fer.cluster.worker`): an
    interactive allocation outlives the processes started in it.
    """
    job = environment.get("FER_JOB", "")
    return (job, restart_of_process(environment)) if job else None


def identity_of_process(environment: Mapping[str, str] = os.environ) -> JobIdentity:
    """Return the job of this process; its id is empty outside a job of this project."""
    if not environment.get("FER_JOB"):
        return JobIdentity("", user=user_name())
    return JobIdentity(environment["FER_JOB"], environment.get("SLURM_CLUSTER_NAME", ""),
                       environment.get("SLURM_JOB_USER") or user_name(),
                       environment.get("FER_COMMENT", ""))


def restart_of_process(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often the job of this process was restarted; 0 outside a job."""
    return int(environment.get("SLURM_RESTART_COUNT") or 0)


def node_name() -> str:
    """Return SLURM's name of this node, else the host name."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
