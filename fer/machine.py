"""Cores, GPUs and boot id of this machine. Does not import torch."""

import contextlib
import os
import pwd
import subprocess
from pathlib import Path

import psutil

from fer.errors import CallerError


def cores() -> int:
    """Return how many cores this process may use; not every SLURM binds tasks to cores."""
    usable = len(os.sched_getaffinity(0))
    return min(usable, int(os.environ.get("SLURM_CPUS_PER_TASK") or usable))


def count_gpus() -> int:
    """Return the number of visible GPUs, named by index, UUID or MIG slice."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(visible_gpus())


def visible_gpus() -> tuple[int, ...]:
    """Return the indices of the visible GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
        if not all(name.isdigit() for name in names):
            raise CallerError(f"CUDA_VISIBLE_DEVICES={visible}: the local queue needs GPU indices")
        return tuple(int(name) for name in names)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(range(listed.stdout.count("GPU "))) if listed.returncode == 0 else ()


def boot_id() -> str:
    """Return a string that changes with every boot of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))


def user_name(uid: int | None = None) -> str:
    """Return a user's name, by default of this process; empty if there is none, as in a container.
    """
    try:
        return pwd.getpwuid(os.geteuid() if uid is None else uid).pw_name
    except KeyError:
        return ""


def user_label(uid: int) -> str:
    """Return the name of a user, or the number if there is no name."""
    return user_name(uid) or str(uid)
