"""How a rank exits when its run fails.

A single process continues with its next run. One rank of several cannot, because the others wait
for it: it exits, and the job ends. A peer that dies without an error message is not a failure of
the run.
"""

import os
import re
import sys
import time
import traceback
from typing import NoReturn

import torch

from fer.errors import CallerError
from fer.study.failure import keep_failure, kept_failure, publish_failure
from fer.study.job_environment import node_name, restart_of_process
from fer.study.run_folder import RunFolder

PEER_LOST = re.compile(
    r"gloo|nccl|process ?group|connection (closed|reset)|broken pipe|socket|DistNetworkError",
    re.IGNORECASE)
MOST_NETWORK_RESTARTS = 3
CONSEQUENCE_S = 3.0  # how long the first rank waits for the error of the rank that failed


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and the world size, from the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def publish_run_failure(folder: RunFolder, error: BaseException) -> None:
    """Publish a failure: one line for a `CallerError`, a traceback for any other error."""
    publish_failure(folder, *_line_and_traceback(error, folder))


def _line_and_traceback(error: BaseException, folder: RunFolder) -> tuple[str, str]:
    if isinstance(error, CallerError):
        return str(error), ""
    if isinstance(error, torch.OutOfMemoryError):
        train, (_, world) = folder.config.train, rank_and_world()
        pictures = train.micro_batch or -(-train.batch_size // world)
        return (f"{node_name()}: GPU out of memory with {pictures} pictures in a forward pass; set "
                f"train.micro_batch={max(1, pictures // 2)}", "")
    return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


def end_failed_rank(folder: RunFolder, error: BaseException) -> NoReturn:
    """End this rank of several after an error, so that the whole job ends at once.

    A broken connection follows from the end of another rank. If training has not begun, the cause
    may be the network: the job is restarted then too, but only a few times.
    """
    rank, _ = rank_and_world()
    line, trace = _line_and_traceback(error, folder)
    again = folder.status().begun or restart_of_process() < MOST_NETWORK_RESTARTS
    consequence = bool(PEER_LOST.search(line)) and again
    if not consequence:
        keep_failure(folder, f"{line} (rank {rank} on {node_name()})", trace)
    if rank == 0:
        _publish_kept(folder, wait=consequence)
    end_rank(trace or line)


def _publish_kept(folder: RunFolder, wait: bool) -> None:
    deadline = time.monotonic() + (CONSEQUENCE_S if wait else 0)
    while (kept := kept_failure(folder)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if kept is not None:
        publish_failure(folder, *kept)


def end_rank(message: str) -> NoReturn:
    """Write a message to the log and end this rank of several."""
    print(message, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)  # a normal exit may hang in a process group whose peers are gone
