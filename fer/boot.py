"""Which start of which machine this is: what survives a killed process does not survive that."""

import contextlib
from pathlib import Path

import psutil


def boot_id() -> str:
    """Return a text that is another one after every start of the machine."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return str(int(psutil.boot_time()))
