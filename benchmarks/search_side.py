"""Search benchmarks: savings from early stopping on recorded curves, and the driver's overhead.

    python benchmarks/search_side.py --record      # rewrites benchmarks/curves: 20 minutes

The curves are the best validation macro-F1 so far of a small backbone on drawn faces, for 48 trials
of the demo search's space, each trained for all 27 epochs. The driver benchmark replays the epochs
of runs that are already trained, so that only the driver's own time counts.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from timing import Comparison  # first: it pins the threads

from fer.config.load import load_search
from fer.config.paths import REPOSITORY
from fer.config.search import Scheduler
from fer.search.trial_record import Entry, Record

ORDERS, SLOTS = 20, 4
WITHIN = 0.01  # of the best score of all
FILE = "sweeps/demo-search.yaml"
CURVES = Path(__file__).parent / "curves"
SURFACES = {
    "fine_tuning": ["set.recipe=imagenet_full", "data.drawn.lfw_train=960", "train.batch_size=16"],
    "scratch": ["data.drawn.lfw_train=640"],
}
RECORDED = ["budget.trials=48", "train.epochs=27", "data.val_fraction=0.5"]
SMALL = ["budget.trials=12", "train.epochs=9", "data.drawn.lfw_train=240"]
PAIRS = 5


def train_to_the_end(home: Path, arguments: Sequence[str]) -> list[Entry]:
    """Train the trials of a search without early stopping, and return them."""
    subprocess.run([sys.executable, "launch/tune.py", FILE, "search=recorded",
                    "scheduler.name=none", "finalists=null", "keep.tensorboard=false", *arguments],
                   check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                   env={**os.environ, "FER_HOME": str(home), "FER_CACHE": str(home / "cache"),
                        "FER_DATA": str(home / "data")})
    return Record(home / "studies/recorded").searched


def record(name: str) -> None:
    """Rewrite the curves of a surface: about ten minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        entries = train_to_the_end(Path(folder), [*SURFACES[name], *RECORDED])
    lines = ",\n".join(json.dumps([round(score, 4) for score in entry.curve])
                       for entry in entries)
    (CURVES / f"{name}.json").write_text(f"[\n{lines}\n]\n")


def best_so_far(curves: Sequence[Sequence[float]], order: Sequence[int], config: Scheduler
                ) -> list[float]:
    """Return the best score after each trained epoch of a search over recorded curves.

    Four trials run at a time and alternate epoch by epoch, like processes of equal speed.
    """
    from ray.tune.schedulers import TrialScheduler

    from fer.search.schedulers import scheduler_of

    scheduler = scheduler_of(config, max(map(len, curves)))
    scheduler.set_search_properties("score", "max")
    waiting, running = list(order), dict[int, int]()
    best = [0.0]
    while waiting or running:
        while waiting and len(running) < SLOTS:
            running[waiting.pop(0)] = 0
            scheduler.on_trial_add(None, _stand_in(list(running)[-1]))
        for trial, done in list(running.items()):
            running[trial] = done + 1
            best.append(max(best[-1], curves[trial][done]))
            result = {"epoch": done + 1, "score": curves[trial][done]}
            verdict = scheduler.on_trial_result(None, _stand_in(trial), result)
            if verdict == TrialScheduler.STOP or done + 1 == len(curves[trial]):
                del running[trial]
    return best[1:]


def _stand_in(number: int) -> SimpleNamespace:
    return SimpleNamespace(trial_id=str(number))


def share_of_epochs(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the share of random search's epochs that ASHA trains, one per order of the trials.

    ASHA is configured as in the demo search. The share is infinite where its best score is more
    than 1 % below that of random search.
    """
    shares = []
    for seed in range(ORDERS):
        order = list(np.random.default_rng(seed).permutation(len(curves)))
        whole = best_so_far(curves, order, Scheduler(name="none"))
        found = best_so_far(curves, order, load_search(FILE).scheduler)
        near = found[-1] >= whole[-1] * (1 - WITHIN)
        shares.append(len(found) / len(whole) if near else float("inf"))
    return sorted(shares)


def asha(name: str) -> Comparison:
    """Return the comparison for one recorded surface."""
    curves = json.loads((CURVES / f"{name}.json").read_text())
    shares = share_of_epochs(curves)
    return Comparison(
        f"epochs of ASHA where it comes within 1 % of random search's best, {len(curves)} recorded "
        f"trials of {name.replace('_', ' ')}, {ORDERS} orders",
        statistics.median(shares), None, "share", statistics.median(shares), shares[0], shares[-1],
        0.25)


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
from fer.config.paths import cache, data_root, home
from fer.search.ray_local import ray_here
from fer.search.trial_record import Record
from fer.search.options import Slots
from fer.search.trial_runs import Maker
from fer.study.inputs import Contents
from fer.study.run_folder import Store
folder = Path(sys.argv[1]) / "studies/recorded"
search = load_search(str(folder / "search.yaml"))
entries = Record(folder).searched
"""
OURS = COMMON + """
with ray_here(2, 0):
    from fer.search.searchers import Listed
    from fer.search.runner import Tuning
    place = folder.with_name("again"); place.mkdir(exist_ok=True)
    maker = Maker(search, Contents(data_root(), cache()))
    tuning = Tuning(search, maker, Store(home()), place, Record(place), Slots(1, 0),
                    lambda record: None)
    begun = time.monotonic()
    tuning.go(Listed(iter([entry.params for entry in entries])), len(entries), 99)
    print(time.monotonic() - begun)
"""
PLAIN = COMMON + """
import os, shutil, tempfile
shutil.rmtree(home() / "plain", ignore_errors=True)
with ray_here(2, 0):
    for name in list(os.environ):
        if name.startswith("TUNE_"):
            del os.environ[name]
    from ray import tune
    from fer.search.trainable import RunTrial
    configs = [{"number": entry.number, "seed": None, "params": entry.params, "over": False,
                "folder": tempfile.mkdtemp(dir=home()), "job": False, "metric": search.metric,
                "select": search.set["train.select"],
                "runs": [str(home() / "runs" / entry.run)]} for entry in entries]
    begun = time.monotonic()

    class Plain(RunTrial):
        def setup(self, config):
            self.config = config["one"]
            super().setup(self.config)

    tune.Tuner(tune.with_resources(Plain, {"cpu": 1}),
               param_space={"one": tune.grid_search(configs)},
               tune_config=tune.TuneConfig(metric="score", mode="max",
                                           scheduler=tune.schedulers.FIFOScheduler()),
               run_config=tune.RunConfig(storage_path=str(home() / "plain"), verbose=0)).fit()
    print(time.monotonic() - begun)
"""


def driver() -> Comparison:
    """Return the time per trial of our driver against plain Ray Tune."""
    with tempfile.TemporaryDirectory() as folder:
        count = len(train_to_the_end(Path(folder), SMALL))
        pairs = []
        for number in range(PAIRS):
            sides = [lambda: driver_seconds(Path(folder), OURS),
                     lambda: driver_seconds(Path(folder), PLAIN)]
            took = {turn: sides[turn]() for turn in ((0, 1) if number % 2 else (1, 0))}
            pairs.append((took[0], took[1]))
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    return Comparison("driver per trial, against plain Ray Tune with the same trainable",
                      statistics.median(ours for ours, _ in pairs) / count * 1e3,
                      statistics.median(theirs for _, theirs in pairs) / count * 1e3, "ms",
                      statistics.median(ratios), ratios[0], ratios[-1], 1.05)


def measure(quick: bool) -> list[Comparison]:
    """Return ASHA's share of the epochs, and our driver's time against plain Ray Tune.

    Quick: only the former, since both sides of the latter start Ray.
    """
    return [*map(asha, SURFACES), *([] if quick else [driver()])]


if __name__ == "__main__":
    if "--record" in sys.argv:
        for name in SURFACES:
            record(name)
    else:
        print(*measure("--quick" in sys.argv), sep="\n")
