"""Pictures looked at, drawn or masked in several processes, with the results in order."""

import multiprocessing
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

from fer.safe_path import safe_children

Job = TypeVar("Job")
Result = TypeVar("Result")


class ProcessPool(ProcessPoolExecutor):
    """Processes of their own, not forked: the caller may hold threads and CUDA."""

    def __init__(self, workers: int) -> None:
        with safe_children():
            super().__init__(workers, multiprocessing.get_context("spawn"))

    def submit(self, fn: Callable[..., Result], /, *args: Any, **kwargs: Any) -> "Future[Result]":
        """Start processes, where there are too few, and have one call a function."""
        with safe_children():
            return super().submit(fn, *args, **kwargs)


def map_in_processes(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
                 ) -> Generator[Result, None, None]:
    """Yield the result of every job, in the order of the jobs; 1 worker is this process.

    Close it where it is left early, so that the workers stop before what they write to goes.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    with ProcessPool(workers) as pool:
        yield from pool.map(function, jobs)
