"""What this machine is, and what of it this process may use. No torch."""

import contextlib
import os
import subprocess
from pathlib import Path

import psutil

from fer.errors import CallerError


def cores() -> int:
    """Return how many cores this process may use; not every SLURM binds a task to its own."""
    lent = len(os.sched_getaffinity(0))
    return min(lent, int(os.environ.get("SLURM_CPUS_PER_TASK") or lent))


def count_gpus() -> int:
    """Return how many GPUs there are, whatever they are called (numbers, UUIDs, parts of one)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in ("", "-1")])
    return len(visible_gpus())


def visible_gpus() -> tuple[int, ...]:
    """Return the numbers of the GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
        if not all(name.isdigit() for name in names):
            raise CallerError(f"CUDA_VISIBLE_DEVICES={visible}: the local queue takes numbers")
        return tuple(int(name) for name in names)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(range(listed.stdout.count("GPU "))) if listed.returncode == 0 else ()


def boot_id() -> str:
    """Return a text that is another one after every start of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))
