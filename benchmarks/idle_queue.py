"""CPU use of the local queue while it waits for a run of another process."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cluster_side import RUNS, digests, grid
from rich.console import Console
from timing import Comparison

from fer.cluster.local_queue import LocalQueue, Slots
from fer.study.expand import expand
from fer.study.live_table import StudyProgress
from fer.study.plan import Step
from fer.study.run_folder import Store
from fer.study.run_records import Status

IDLE_SECONDS, QUICK_IDLE_SECONDS = 70, 25
WINDOW_SECONDS = 8  # the longest polling interval


class _Enough(Exception):
    """Ends the measurement."""


def measure(quick: bool = False) -> list[Comparison]:
    """Return the share of a core that a local queue uses while it waits.

    All its runs are finished except one, whose lease this process holds.
    """
    runs = expand(grid(2 * RUNS), digests)[:RUNS]
    samples: list[tuple[float, float]] = []  # wall, CPU
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        for run in runs:
            store.folder(run).path.mkdir(parents=True)
            (store.folder(run).path / "train.json").write_text("{}")
        last = store.folder(runs[-1])
        (last.path / "train.json").unlink()
        last.lease.take()
        last.write_status(Status(state="running", step=1, steps=100))
        progress = StudyProgress(store, Console(file=io.StringIO(), force_terminal=True))

        def show(steps: list[Step]) -> None:
            progress.show(steps)
            samples.append((time.perf_counter(), time.process_time()))
            if samples[-1][0] - samples[0][0] > (QUICK_IDLE_SECONDS if quick else IDLE_SECONDS):
                raise _Enough

        queue = LocalQueue(store, runs, {}, runs[0].config.data, Path(place) / "jobs", Slots(1), 1,
                           show)
        with contextlib.suppress(_Enough):
            queue.work()
    shares = [(later[1] - earlier[1]) / (later[0] - earlier[0])
              for earlier, later in windows(samples)]
    middle = statistics.median(shares)
    return [Comparison(f"an idle queue of {len(runs):,} runs on this machine (share of a core)",
                       middle * 100, None, "%", middle, min(shares), max(shares), 0.01)]


def windows(samples: list[tuple[float, float]]
            ) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield the ends of windows of `WINDOW_SECONDS`, without the first one (warm-up)."""
    begun = 0
    for number, (wall, _) in enumerate(samples):
        if wall - samples[begun][0] >= WINDOW_SECONDS:
            if begun:
                yield samples[begun], samples[number]
            begun = number
