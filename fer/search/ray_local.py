"""A Ray of our own on this machine, on loopback only, that leaves nothing behind.

Another Ray on the machine, ours or somebody else's, is neither joined nor disturbed: the folder,
the ports and the token are this one's alone.
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
from contextlib import contextmanager
from pathlib import Path

import psutil

from fer.config.paths import REPOSITORY
from fer.safe_path import python

LEAVING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # ask a search to save and leave
PREFIX = "fer-ray-"
OBJECT_STORE = 128 << 20  # bytes; trials send a few numbers, and 30 % of the memory is the default
FOLDERS = "/tmp"  # not TMPDIR: the path of a socket has 107 bytes at most, and Ray needs 60 of them


def settings(token: str) -> dict[str, str]:
    """Return the variables that Ray and Tune read, for this process and those that Ray starts."""
    return {
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_worker_niceness": "0",  # Ray's 15 gives a trial a thirtieth of a core others use too
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the run folder has metrics and events
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # the search's own record is what it goes on from
        "TUNE_WARN_THRESHOLD_S": "60",
        "RAY_AIR_NEW_OUTPUT": "0",
    }


@contextmanager
def ray_here(cpus: int, gpus: int) -> Iterator[None]:
    """Start Ray with these cores and GPUs; end it, and remove its files, when the block ends."""
    remove_left_behind()
    os.environ.update(settings(secrets.token_hex(32)))
    # Ray's own switch for "one machine": every server then listens on 127.0.0.1
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray opens the folder that it is given to everybody, but not the one around it
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=FOLDERS)
    watcher = subprocess.Popen(python("-m", "fer.search.ray_reaper", folder),
                               stdin=subprocess.PIPE, cwd=REPOSITORY, start_new_session=True)
    try:
        with unheard_by_children():
            import ray

            ray.init(address="local", include_dashboard=False, num_cpus=cpus, num_gpus=gpus,
                     object_store_memory=OBJECT_STORE, _temp_dir=f"{folder}/r", log_to_driver=False,
                     logging_level=logging.ERROR)
        yield
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        assert watcher.stdin is not None
        watcher.stdin.close()  # it removes the folder, and what still lives of Ray
        watcher.wait()


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Have processes that are started meanwhile not hear what asks the driver to leave.

    Ctrl-C, scancel and preemption signal the whole process group. Ray's processes would end at
    once, and the trials in them could not save.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LEAVING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remove_left_behind() -> None:
    """Remove the folders of this user's drivers that were killed before they could."""
    for path in Path(FOLDERS).glob(f"{PREFIX}*"):
        match = re.match(rf"{PREFIX}(\d+)-", path.name)
        if match and not psutil.pid_exists(int(match[1])) and path.stat().st_uid == os.getuid():
            shutil.rmtree(path, ignore_errors=True)
