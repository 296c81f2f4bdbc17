"""Cleanup after a driver has ended: kill its Ray processes and remove their folder.

    python -m fer.search.ray_reaper FOLDER < (a pipe that the driver holds open)

A separate process, because a driver killed by SIGKILL cannot clean up, and some of Ray's processes
outlive it. Kills only processes with open files in this folder.
"""

import os
import shutil
import sys
import time

import psutil

PATIENCE_S = 10.0


def main(folder: str) -> None:
    """Wait for the end of the driver, then clean up."""
    driver = os.getppid()
    sys.stdin.read()
    deadline = time.monotonic() + PATIENCE_S
    while (left := holders(folder, driver)) and time.monotonic() < deadline:
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)
    shutil.rmtree(folder, ignore_errors=True)


def holders(folder: str, driver: int) -> list[psutil.Process]:
    """Return processes with an open file below `folder`, except the driver."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != driver and any(
                    file.path.startswith(f"{folder}/") for file in process.open_files()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended meanwhile, or another user's
            continue
    return found


if __name__ == "__main__":
    main(sys.argv[1])
