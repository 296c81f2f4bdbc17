"""SLURM's queue as a follower sees it: read rarely, since a controller serves many users.

While nothing changes, one reading (two calls of `squeue`) serves half a minute, and all processes
that share a file. Not for planning a submission, which reads the queue anew under a lock.
"""

import time
from dataclasses import asdict
from pathlib import Path

from fer.atomic_io import write_json
from fer.locks import locked
from fer.study.queue_view import Queue
from fer.study.slurm_jobs import Job, Jobs, read_queue
from fer.untrusted_io import read_object, record

SHORTEST_S, LONGEST_S = 5.0, 30.0  # between two readings
GROWTH = 1.5


class QueuePoll:
    """The last answer of SLURM, at most `LONGEST_S` old unless it stopped to respond.

    Args:
        home: `$FER_HOME`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._queue: Queue | None = None
        self._pause, self._next = SHORTEST_S, 0.0

    def queue(self) -> Queue:
        """Return the queue; after a reading without an answer, the one before."""
        if self._queue is None or time.monotonic() >= self._next:
            jobs = read_queue()
            if self._queue is None or jobs.answered or not self._queue.known.answered:
                self._queue = Queue(self._home, jobs)
            self._next = time.monotonic() + self._pause
            self._pause = min(self._pause * GROWTH, LONGEST_S)
        return self._queue

    def soon(self) -> None:
        """Read the queue in some seconds, because a job may have ended."""
        self._next = min(self._next, time.monotonic() + SHORTEST_S)
        self._pause = SHORTEST_S

    def now(self) -> None:
        """Read the queue at the next call, because something was submitted."""
        self._next, self._pause = 0.0, SHORTEST_S


def shared_queue(file: Path) -> Jobs:
    """Return the queue as one of the processes that share `file` has read it in the last seconds.
    """
    with locked(file.with_suffix(".lock"), content=False):
        if (known := _recent(file)) is not None:
            return known
        jobs = read_queue()
        write_json(file, {"time": time.time(), "jobs": [asdict(job) for job in jobs.by_id.values()],
                          "answered": jobs.answered, "cluster": jobs.cluster,
                          "private": jobs.private, "accounting": jobs.accounting})
        return jobs


def _recent(file: Path) -> Jobs | None:
    """Return the stored queue; None if it is old, missing, or not readable."""
    try:
        content = read_object(file)
        if not 0 <= time.time() - content["time"] < LONGEST_S:
            return None
        jobs = [record(Job, job) for job in content["jobs"]]
        return Jobs({job.id: job for job in jobs}, bool(content["answered"]),
                    str(content["cluster"]), bool(content["private"]), bool(content["accounting"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
