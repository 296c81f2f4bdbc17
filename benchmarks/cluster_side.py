"""Login-node benchmarks: submission, planning, status, and how well jobs fill their slots.

Submission is measured on a real SLURM that is started on this machine. Where that is impossible
(it needs root and Debian's packages), the row is omitted with a message.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from timing import Comparison, seconds  # first: it pins the threads

from fer.atomic_io import write_json
from fer.cluster.arrays import make_arrays
from fer.cluster.estimate import makespan
from fer.cluster.request import ExpandedStudy
from fer.cluster.slurm_queue import SlurmQueue
from fer.config.load import load_study
from fer.config.profile import Profile
from fer.config.run import RunConfig
from fer.config.study import Resources, Study
from fer.study.expand import Run, expand
from fer.study.plan import plan
from fer.study.queue_view import look
from fer.study.run_folder import Store
from fer.study.run_records import State, Status
from fer.study.study_folder import write_study
from fer.study.submission import Submission

REPOSITORY = Path(__file__).resolve().parents[1]
SPLITS = {"lfw/eval": "a", "mlfw/eval": "b", "real/test": "c"}
RUNS, QUICK_RUNS = 1000, 100
STUDY, QUICK_STUDY = 10_000, 500
PEER_JOBS, QUICK_PEER_JOBS = 25, 5
ROUNDS, QUICK_ROUNDS = 5, 1
MIXED = 12  # studies of random sizes and lengths


def digests(config: RunConfig) -> dict[str, str]:
    """Return digests without data, as a function of the split names."""
    return {f"{name}/{part}": f"{name}-{part}" for name in config.train_sets
            for part in ("train", "val")}


class NoPictures:
    """A stand-in for the contents of data sets where no time is estimated from them."""

    def pictures(self, split: str, data: object) -> int:
        """Return a fixed number of images."""
        return 1000


def grid(runs: int) -> Study:
    """Return a study of about `runs` runs, half of them with a shared parent."""
    return load_study("sweeps/demo.yaml", {
        "grid.optim.lr": [1e-5 * number for number in range(1, 1 + max(1, runs // 400))],
        "grid.seed": list(range(min(50, runs // 8))), "resources.runs_per_job": 1,
        "grid.train_on": ["lfw", "mlfw"], "exclude": []})


def measure(quick: bool = False) -> list[Comparison]:
    """Return all rows."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    return [*submission(quick), *planning(quick, rounds), *status(quick, rounds), fill()]


def row(name: str, times: list[float], target: float) -> Comparison:
    """Return a row without a peer: the time in seconds against the target."""
    middle = statistics.median(times)
    return Comparison(name, middle * 1e3, None, "ms", middle, min(times), max(times), target)


def planning(quick: bool, rounds: int) -> list[Comparison]:
    """Return the time to plan a large study, from its file to its array jobs."""
    study = grid(QUICK_STUDY if quick else STUDY)
    times = []
    with tempfile.TemporaryDirectory() as place:
        for _ in range(rounds):
            times.append(seconds(lambda: _plan(study, Store(Path(place)))))
    count = len(expand(study, digests))
    return [row(f"planning {count:,} runs (seconds)", times, 3.0)]


def _plan(study: Study, store: Store) -> None:
    runs = expand(study, digests)
    steps = plan(runs, look(store, runs, SPLITS))
    made = make_arrays(steps, study.resources, lambda run: None, 1001)
    assert sum(array.runs for array in made.arrays) == len(runs)


STATES: tuple[State, ...] = ("done", "pending", "failed", "pending", "done")


def status(quick: bool, rounds: int) -> list[Comparison]:
    """Return the time of the command `launch/status.py`, with and without its cache."""
    study = grid(QUICK_STUDY if quick else STUDY)
    runs = expand(study, digests)
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        write_study(store, study, runs, runs[0].config.data)
        for number, run in enumerate(runs):
            folder = store.folder(run)
            folder.path.mkdir(parents=True)
            folder.write_status(Status(state=STATES[number % len(STATES)], step=100, steps=100,
                                       epoch=12, epochs=12, metric=0.5, heartbeat=1.0))
            where = store.study(study.study) / f"slurm/{number // 1000:03}"
            if number % 1000 == 0:
                where.mkdir(parents=True)
                Submission(where).set_job(str(number))
            write_json(folder.path / "submit.json", {
                "submission": str(where.relative_to(store.home)), "index": number % 1000})
        cache_file = store.study(study.study) / "cache.parquet"
        cold, warm = [], []
        for _ in range(rounds):
            cache_file.unlink(missing_ok=True)
            cold.append(seconds(lambda: _status(place, study.study)))
            warm.append(seconds(lambda: _status(place, study.study)))
    return [row(f"status of {len(runs):,} runs, nothing changed (seconds)", warm, 2.0),
            row(f"status of {len(runs):,} runs, first read (seconds)", cold, 10.0)]


def _status(home: str, study: str) -> None:
    done = subprocess.run([sys.executable, str(REPOSITORY / "launch/status.py"), study],
                          env={**os.environ, "FER_HOME": home}, capture_output=True, text=True)
    assert done.returncode == 1 and "failed" in done.stdout, done.stderr


def fill() -> Comparison:
    """Return the makespan of mixed studies against max(total work / slots, longest chain)."""
    study = grid(400)
    runs = [run for run in expand(study, digests)]
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(MIXED):
        slots = int(rng.integers(2, len(runs) // 20 + 1))
        lengths = rng.lognormal(3, 1, len(runs)).tolist()
        times = dict(zip((run.id for run in runs), lengths, strict=True))
        ratios.append(_fill(runs, times, slots))
    return Comparison(f"makespan of {len(runs)} mixed runs, at least 20 a slot, against the bound",
                      statistics.median(ratios) * 100, 100, "%", statistics.median(ratios),
                      min(ratios), max(ratios), 1.05)


def _fill(runs: list[Run], times: dict[str, float], slots: int) -> float:
    steps = plan(runs, {})
    made = make_arrays(steps, Resources(), lambda run: times[run.id], 1001)
    chains = {run.id: times[run.id] + sum(times[parent] for parent in run.parents) for run in runs}
    bound = max(sum(times.values()) / slots, max(chains.values()))
    return makespan(made.arrays, lambda run: times[run.id], slots) / bound


def submission(quick: bool) -> list[Comparison]:
    """Return the time to submit a study by arrays against submitit's `submit` of each run.

    Both sides use the same real SLURM, with held jobs so that none starts. Ours includes run
    folders, snapshot and report, with one call of `sbatch` per chunk and one for the report.
    """
    with small_cluster() as folder:
        if folder is None:
            return []
        count = QUICK_RUNS if quick else RUNS
        peers = QUICK_PEER_JOBS if quick else PEER_JOBS
        ratios, ours, theirs = [], [], []
        for number in range(1 if quick else 3):
            ours.append(_by_arrays(folder / f"ours{number}", count) / count)
            theirs.append(_one_by_one(folder / f"theirs{number}", peers) / peers)
            ratios.append(ours[-1] / theirs[-1])
    return [Comparison(f"submitting {count:,} runs by arrays, against submitit one by one (a run)",
                       statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3, "ms",
                       statistics.median(ratios), min(ratios), max(ratios), 1 / 50)]


@contextlib.contextmanager
def small_cluster() -> Iterator[Path | None]:
    """Yield a folder while a real SLURM is running; None where it cannot be started."""
    sys.path.insert(0, str(REPOSITORY / "slurm"))
    import cluster_files
    import daemons

    if reason := daemons.missing_requirement(accounting=False):
        print(f"submission is not measured: {reason}")
        yield None
        return
    cluster = cluster_files.Cluster(Path(f"/tmp/fer-bench-{os.getpid()}"), accounting=False,
                                    first_port=28_817, memory_mb=4000)
    os.environ["SLURM_CONF"] = str(cluster.slurm_conf)
    try:
        daemons.bring_up(cluster)
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
    finally:
        daemons.take_down(cluster.folder)
        del os.environ["SLURM_CONF"]


def _by_arrays(home: Path, count: int) -> float:
    study = load_study("sweeps/demo.yaml", {"grid.recipe": ["scratch"], "grid.backbone":
                       ["cbam_tiny"], "grid.train_on": ["lfw"], "grid.seed": list(range(count)),
                       "resources.runs_per_job": 1, "exclude": []})
    runs, calls = expand(study, digests), _counted_sbatch(home)
    data = runs[0].config.data
    work = ExpandedStudy(study, data, runs, SPLITS, NoPictures())  # type: ignore[arg-type]
    cluster = SlurmQueue(Store(home), work, "bench",
                         Profile(partition="main", sbatch={"hold": True}),
                         Console(quiet=True))
    with calls as log:
        took = seconds(cluster.submit)
        made = len(log.read_text().splitlines())
    chunks = -(-count // 1001)
    assert made == chunks + 1, f"{made} calls of sbatch for {chunks} chunks and the report"
    assert len(list((home / "runs").glob("*/submit.json"))) == count
    subprocess.run(["scancel", "--user", os.environ.get("USER", "root")], check=False)
    return took


@contextlib.contextmanager
def _counted_sbatch(home: Path) -> Iterator[Path]:
    """Prepend to PATH an `sbatch` that logs its calls; yield the log, one line per call."""
    home.mkdir(parents=True)
    log, wrapper = home / "calls", home / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho x >> "{log}"\nexec {shutil.which("sbatch")} "$@"\n')
    wrapper.chmod(0o755)
    original = os.environ["PATH"]
    os.environ["PATH"] = f"{wrapper.parent}{os.pathsep}{original}"
    try:
        yield log
    finally:
        os.environ["PATH"] = original


def _one_by_one(folder: Path, count: int) -> float:
    import submitit

    executor = submitit.SlurmExecutor(folder=folder)
    executor.update_parameters(partition="main", time=10, additional_parameters={"hold": True})
    took = time.perf_counter()
    for number in range(count):
        executor.submit(abs, number)
    took = time.perf_counter() - took
    subprocess.run(["scancel", "--user", os.environ.get("USER", "root")], check=False)
    return took


if __name__ == "__main__":
    print(json.dumps([asdict(one) for one in measure("--quick" in sys.argv)], indent=1))
