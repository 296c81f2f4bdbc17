"""A private Ray instance on this machine, on loopback only, that cleans up after itself.

Other Ray instances on the machine are neither joined nor disturbed: folder, ports and token are
private.
"""

import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from fer.config.paths import REPOSITORY
from fer.errors import Unavailable
from fer.safe_path import python

LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # request a search to save and exit
PREFIX = "fer-ray-"
OBJECT_STORE = 128 << 20  # bytes; trials send only a few numbers, and the default is 30 % of memory
STARTS = 3
SERVICES = ("/monitor.py", "/log_monitor.py", "/dashboard.py")
FOLDERS = "/tmp"  # not TMPDIR: a socket path has at most 107 bytes, and Ray needs 60 of them


def settings(token: str) -> dict[str, str]:
    """Return the environment variables for Ray and Tune, in this process and its children."""
    return {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # with Ray's 15, a trial gets a thirtieth of a shared core
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has metrics and events
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # a search resumes from its own record
        "TUNE_WARN_THRESHOLD_S": "60",
        "RAY_AIR_NEW_OUTPUT": "0",
    }


@contextmanager
def ray_here(cpus: int, gpus: int) -> Iterator[None]:
    """Run Ray with these cores and GPUs while the block runs, then remove its files.

    Raises:
        Unavailable: Ray did not start, because the machine is busy.
    """
    remove_left_behind()
    os.environ.update(settings(secrets.token_hex(32)))
    # Ray's switch for a single machine: every server then listens on 127.0.0.1
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray makes its folder world-readable, but not the parent folder
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=FOLDERS)
    watcher = subprocess.Popen(python("-m", "fer.search.ray_reaper", folder),
                               stdin=subprocess.PIPE, cwd=REPOSITORY, start_new_session=True)
    try:
        with unheard_by_children():
            _start(cpus, gpus, f"{folder}/r")
        yield
    finally:
        if "ray" in sys.modules:
            _kill_services(folder)
            sys.modules["ray"].shutdown()
        assert watcher.stdin is not None
        watcher.stdin.close()  # it removes the folder and kills remaining Ray processes
        watcher.wait()


def _start(cpus: int, gpus: int, folder: str) -> None:
    """Start Ray's processes; on a busy machine they may miss its limit of 30 seconds."""
    import ray

    for _ in range(STARTS):
        try:
            ray.init(address="local", include_dashboard=False, num_cpus=cpus, num_gpus=gpus,
                     object_store_memory=OBJECT_STORE, _temp_dir=folder, log_to_driver=False,
                     logging_level=logging.ERROR)
        except Exception as error:  # Ray has no class for it
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
        else:
            return
    raise Unavailable(f"Ray did not start in {STARTS} attempts of 30 seconds, because this machine "
                      "is busy; the same command continues later")


def _kill_services(folder: str) -> None:
    """Kill the processes of Ray that hold no state.

    They have SIGTERM blocked, so `ray.shutdown` waits a second for each before SIGKILL.
    """
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if folder in command and any(name in command for name in SERVICES):
                process.kill()


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Block the save-and-exit signals in processes started while the block runs.

    Ctrl-C, scancel and preemption signal the whole process group. Ray's processes would end at
    once, and their trials could not save.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEAVING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remove_left_behind() -> None:
    """Remove the folders of this user's killed drivers."""
    for path in Path(FOLDERS).glob(f"{PREFIX}*"):
        match = re.match(rf"{PREFIX}(\d+)-", path.name)
        if match and not psutil.pid_exists(int(match[1])) and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)
