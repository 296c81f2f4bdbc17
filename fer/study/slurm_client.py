"""Calls of SLURM's commands that read, with patience for passing errors. Never submits.

A busy controller answers some calls with an error that the next call no longer gets. Only an error
that lasts is reported, and `SlurmUnavailable` is not a mistake of the caller.
"""

import os
import re
import subprocess
import time

from fer.errors import Unavailable

PATIENCE_S = 30
RETRY_S = (0.5, 2.0)  # pauses before the second and third try
PASSING = re.compile(
    r"timed out|time ?out|unable to contact|connect(ion)? (failure|refused|reset)|zero bytes|"
    r"temporarily|communication|transport endpoint|unexpected message|controller not responding|"
    r"backup controller|restarting", re.IGNORECASE)
_configs: dict[str, dict[str, str]] = {}  # constant while the controller runs


class SlurmUnavailable(Unavailable):
    """SLURM does not respond; the same call may succeed later."""


def ask(command: list[str]) -> str | None:
    """Return the output of a command; None if it is missing or SLURM does not respond.

    A passing error is retried twice.
    """
    for pause in (*RETRY_S, None):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if done.returncode == 0:
            return done.stdout
        if pause is None or not is_passing(done.stderr):
            return None
        time.sleep(pause)
    return None


def is_passing(error: str) -> bool:
    """Return whether the error message of a command may be gone at the next call."""
    return bool(PASSING.search(error))


def cluster_config() -> dict[str, str]:
    """Return the cluster's configuration, asked once a process; empty without an answer."""
    place = os.environ.get("SLURM_CONF", "")
    if place not in _configs:
        text = ask(["scontrol", "show", "config"])
        if not text:
            return {}
        _configs[place] = dict(re.findall(r"^(\w+) *= (\S*)", text, re.MULTILINE))
    return _configs[place]


def cluster_name() -> str:
    """Return the name of the cluster that `sbatch` submits to; empty if unknown."""
    return cluster_config().get("ClusterName", "")
