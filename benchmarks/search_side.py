"""Searches: what early stopping saves on recorded learning curves, and what the driver costs.

The curves are recorded here, of a small backbone on drawn faces under settings drawn by chance; the
driver's side hands over epochs of runs that are trained already, so that only its own time counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from timing import Comparison  # first: it pins the threads

from fer.config.places import REPOSITORY
from fer.search.record import Entry, Record

ORDERS, SLOTS = 20, 4
WITHIN = 0.01  # of the best score of all
RECORDED = 48
FILE = "sweeps/demo-search.yaml"


def record_curves(home: Path, trials: int, epochs: int) -> list[Entry]:
    """Train trials to their ends and return them."""
    subprocess.run([sys.executable, "launch/tune.py", FILE, "search=recorded",
                    f"budget.trials={trials}", "scheduler.name=none", "finalists=null",
                    f"train.epochs={epochs}", "keep.tensorboard=false", "data.drawn.lfw_train=400"],
                   check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                   env={**os.environ, "FER_HOME": str(home), "FER_CACHE": str(home / "cache"),
                        "FER_DATA": str(home / "data")})
    return Record(home / "studies/recorded").searched


def epochs_used(curves: Sequence[Sequence[float]], order: Sequence[int], asha: bool
                ) -> tuple[int, float]:
    """Return the epochs that a search over recorded curves trains, and the best score it reaches.

    Four trials run at a time and take turns, an epoch each, as processes of equal speed would.
    """
    from ray.tune.schedulers import TrialScheduler

    from fer.config.search import Scheduler
    from fer.search.schedulers import scheduler_of

    longest = max(map(len, curves))
    scheduler = scheduler_of(Scheduler(name="asha" if asha else "none", grace=1), longest)
    scheduler.set_search_properties("score", "max")
    waiting, running = list(order), dict[int, int]()
    used, best = 0, 0.0
    while waiting or running:
        while waiting and len(running) < SLOTS:
            running[waiting.pop(0)] = 0
            scheduler.on_trial_add(None, _stand_in(list(running)[-1]))
        for trial, done in list(running.items()):
            used += 1
            running[trial] = done + 1
            best = max(best, curves[trial][done])
            result = {"epoch": done + 1, "score": curves[trial][done]}
            verdict = scheduler.on_trial_result(None, _stand_in(trial), result)
            if verdict == TrialScheduler.STOP or done + 1 == len(curves[trial]):
                del running[trial]
    return used, best


def _stand_in(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=str(number))


def share_of_epochs(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return ASHA's share of the epochs of random search, over orders of the trials.

    Where ASHA stays more than 1 % below the best of random search, the share is infinite.
    """
    shares = []
    for seed in range(ORDERS):
        order = list(np.random.default_rng(seed).permutation(len(curves)))
        whole, best = epochs_used(curves, order, asha=False)
        used, found = epochs_used(curves, order, asha=True)
        shares.append(used / whole if found >= best * (1 - WITHIN) else float("inf"))
    return shares


def driver_seconds(home: Path, script: str) -> float:
    """Return how long a go over the trained runs takes, without the start of Ray."""
    done = subprocess.run([sys.executable, "-c", script, str(home)], capture_output=True, text=True,
                          cwd=REPOSITORY, check=True,
                          env={**os.environ, "FER_HOME": str(home),
                               "FER_CACHE": str(home / "cache"), "FER_DATA": str(home / "data")})
    return float(done.stdout.strip().splitlines()[-1])


COMMON = """
import json, sys, time
from pathlib import Path
from fer.config.load import load_search
from fer.config.places import cache, data_root, home
from fer.search.here import ray_here
from fer.search.record import Record
from fer.search.slots import Slots
from fer.search.trials import Maker
from fer.study.contents import Contents
from fer.study.store import Store
folder = Path(sys.argv[1]) / "studies/recorded"
search = load_search(str(folder / "search.yaml"))
entries = Record(folder).searched
"""
OURS = COMMON + """
with ray_here(2, 0):
    from fer.search.sources import Listed
    from fer.search.tuning import Tuning
    place = folder.with_name("again"); place.mkdir(exist_ok=True)
    maker = Maker(search, Contents(data_root(), cache()))
    tuning = Tuning(search, maker, Store(home()), place, Record(place), Slots(1, 0),
                    lambda record: None)
    begun = time.monotonic()
    tuning.go(Listed(iter([entry.params for entry in entries])), len(entries), 99)
    print(time.monotonic() - begun)
"""
PLAIN = COMMON + """
import os, tempfile
with ray_here(2, 0):
    for name in list(os.environ):
        if name.startswith("TUNE_"):
            del os.environ[name]
    from ray import tune
    from fer.search.trial import RunTrial
    configs = [{"number": entry.number, "seed": None, "params": entry.params, "over": False,
                "folder": tempfile.mkdtemp(), "job": False, "metric": search.metric,
                "select": "uar", "runs": [str(home() / "runs" / entry.run)]} for entry in entries]
    begun = time.monotonic()

    class Plain(RunTrial):
        def setup(self, config):
            self.config = config["one"]
            super().setup(self.config)

    tune.Tuner(tune.with_resources(Plain, {"cpu": 1}),
               param_space={"one": tune.grid_search(configs)},
               tune_config=tune.TuneConfig(metric="score", mode="max",
                                           scheduler=tune.schedulers.ASHAScheduler("epoch")),
               run_config=tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0)).fit()
    print(time.monotonic() - begun)
"""


def measure(quick: bool) -> list[Comparison]:
    """Return ASHA's share of the epochs, and our driver's time against plain Ray Tune's.

    Quick: nothing, since each side starts Ray.
    """
    if quick:
        return []
    with tempfile.TemporaryDirectory() as folder:
        entries = record_curves(Path(folder), RECORDED, 9)
        curves = [entry.curve for entry in entries]
        shares = sorted(share_of_epochs(curves))
        pairs = []
        for number in range(5):
            sides = [lambda: driver_seconds(Path(folder), OURS),
                     lambda: driver_seconds(Path(folder), PLAIN)]
            took = {turn: sides[turn]() for turn in ((0, 1) if number % 2 else (1, 0))}
            pairs.append((took[0], took[1]))
    count = len(entries)
    share = statistics.median(shares)
    found = [Comparison(
        f"epochs of ASHA within 1 % of the best of random search, {count} recorded trials, "
        f"{ORDERS} orders", share, None, "share", share, shares[0], shares[-1], 0.25)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    found.append(Comparison(
        "driver a trial, against plain Ray Tune with the same trainable",
        statistics.median(ours for ours, _ in pairs) / count * 1e3,
        statistics.median(theirs for _, theirs in pairs) / count * 1e3, "ms",
        statistics.median(ratios), ratios[0], ratios[-1], 1.05))
    return found


if __name__ == "__main__":
    begun = time.monotonic()
    print(*measure("--quick" in sys.argv), sep="\n")
    print(json.dumps({"seconds": time.monotonic() - begun}))
