"""How a rank ends when its run does not end well.

One process alone goes on with its next run. One rank of several cannot: the others wait for it, so
it ends, and with it the job. A peer that vanished without a word is no failure of the run.
"""

import os
import re
import sys
import time
import traceback
from typing import NoReturn

from fer.errors import CallerError
from fer.study.failure import keep_failure, kept_failure, publish_failure
from fer.study.run_folder import RunFolder
from fer.study.slurm_jobs import node_name, restart_of_process

PEER_LOST = re.compile(
    r"gloo|nccl|process ?group|connection (closed|reset)|broken pipe|socket|DistNetworkError",
    re.IGNORECASE)
MOST_NETWORK_RESTARTS = 3
CONSEQUENCE_S = 3.0  # how long the first rank waits for the word of the rank that broke it


def rank_and_world() -> tuple[int, int]:
    """Return this process's rank and how many there are, from the environment."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def publish_run_failure(folder: RunFolder, error: BaseException) -> None:
    """Publish a failure; a mistake of the caller is one line, anything else has its traceback."""
    publish_failure(folder, *_words(error))


def _words(error: BaseException) -> tuple[str, str]:
    if isinstance(error, CallerError):
        return str(error), ""
    return f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))


def end_failed_rank(folder: RunFolder, error: BaseException) -> NoReturn:
    """End this rank of several after an error, so that the whole job ends at once.

    A broken connection is the consequence of another rank's end. Where training never began it may
    be the network: then too the job is started again, but not often.
    """
    rank, _ = rank_and_world()
    line, trace = _words(error)
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


def end_rank(word: str) -> NoReturn:
    """End this rank of several with a word in its log."""
    print(word, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)  # a process group whose peers are gone may hang in an orderly exit
