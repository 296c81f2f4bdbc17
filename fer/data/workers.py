"""Pictures looked at, drawn or masked in several processes, with the results in order."""

import multiprocessing
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_processes(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int
                 ) -> Generator[Result, None, None]:
    """Yield the result of every job, in the order of the jobs; 1 worker is this process.

    Close it where it is left early, so that the workers stop before what they write to goes.
    """
    if workers == 1:
        yield from map(function, jobs)
        return
    # spawn: the caller may hold threads and CUDA, which a fork would break
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(function, jobs)
