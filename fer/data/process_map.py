"""Ordered map over jobs in several processes, for decoding, drawing and masking pictures."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from fer.safe_path import safe_children

Job = TypeVar("Job")
Result = TypeVar("Result")


class ProcessPool(ProcessPoolExecutor):
    """A pool of spawned processes; the caller may use threads and CUDA, so forking is unsafe.

    The processes end with their parent, however it ends.
    """

    def __init__(self, workers: int) -> None:
        with safe_children():
            super().__init__(workers, multiprocessing.get_context("spawn"), _end_with_parent)

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        """Submit a call; start processes if needed."""
        with safe_children():
            return super().submit(fn, *args, **kwargs)


def _end_with_parent() -> None:
    """End this process when its parent has: it would wait forever for a call of a killed one."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def map_in_processes(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int,
                     pool: ProcessPool | None = None) -> Generator[Result, None, None]:
    """Yield the result of every job, in the order of the jobs; 1 worker means this process.

    Args:
        pool: to use for several workers instead of a new one, which takes a second to start.

    Close the generator if you stop early, so that the workers stop before their output folder is
    removed.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    if pool is not None:
        yield from pool.map(function, jobs)
        return
    with ProcessPool(workers) as own:
        yield from own.map(function, jobs)
