"""Report benchmarks: tables of 10,000 runs against TensorBoard's reader; intervals against a loop.

The results are those of simulated runs; the numbers of both sides are asserted to be equal.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from timing import Comparison, side_by_side  # first: it pins the threads

from fer.config.study import Study
from fer.evaluate.jackknife import jackknife
from fer.evaluate.metrics import measure
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions
from fer.report.csv_tables import write_results
from fer.report.read.load_results import LoadedResults, load_metrics
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun

SPLITS = ("lfw/eval", "mlfw/eval", "real/test")
CLASSES = ("negative", "neutral", "positive")
RUNS, QUICK_RUNS, EVENT_RUNS = 10_000, 300, 40
EPOCHS = 40
MODELS, LOOP_MODELS = 200, 3


def study() -> Study:
    return Study.model_validate({"schema": 1, "study": "made", "base": "x", "grid": {"seed": [0]},
                                 "evaluate_on": list(SPLITS)})


def write_runs(root: Path, count: int) -> list[ReportRun]:
    """Write result files like those of runs; return the runs."""
    rng, n = np.random.default_rng(0), 300
    labels = rng.choice(3, n, p=[0.1, 0.36, 0.54])
    texts = []
    for _ in range(20):  # distinct contents, reused: computing them is not measured
        logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
        texts.append(json.dumps({"schema": 1, "split": "s", "digest": "d",
                                 **measure(labels, logits, CLASSES)}, indent=1))
    runs = []
    for number in range(count):
        folder = root / "runs" / f"tiny-scratch-lfw-s{number % 5}-{number:010d}"
        for place, split in enumerate(SPLITS):
            path = folder / "results" / f"{split}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[(number + place) % len(texts)])
        runs.append(ReportRun(folder.name, f"{number:010d}", f"c{number // 5}", "tiny", "scratch",
                              "lfw", number % 5, folder, "done"))
    return runs


def write_events(run: ReportRun) -> None:
    """Write the event files of a run of forty epochs, with its images of 48 px."""
    from torch.utils.tensorboard import SummaryWriter

    from fer.data.pixels import Source
    from fer.train.tensorboard import Events

    class Grey:
        def gather(self, indices: np.ndarray) -> torch.Tensor:
            return torch.full((len(indices), 48, 48, 3), 90, dtype=torch.uint8)

    one, events = made(run.seed), Events(run.folder / "tb", 0, 16)
    names = ("train_loss", "val_loss", "val_uar", "val_accuracy", "val_macro_f1", "lr")
    for epoch in range(EPOCHS):
        facts = {"step": epoch, **{name: 1 / (epoch + 1) for name in names}}
        events.epoch(facts, one.labels, one.logits, CLASSES, cast(Source, Grey()))
    events.close()
    with SummaryWriter(str(run.folder / "tb"), filename_suffix=".hparams") as writer:
        for split in SPLITS:
            content = json.loads((run.folder / "results" / f"{split}.json").read_text())
            writer.add_scalar(f"{split}/uar", content["uar"], EPOCHS)


def tables(runs: list[ReportRun], root: Path) -> LoadedResults:
    """Write the results of all runs to CSV files, using the cache."""
    report_cache = ReportCache(root / "study")
    results = load_metrics(study(), runs, report_cache)
    report_cache.save()
    write_results("made", results, root / "study" / "report")
    return results


def from_events(runs: list[ReportRun]) -> dict[tuple[str, str], float]:
    """Return unweighted average recall (UAR) by run and split, read with TensorBoard's reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in runs:
        events = EventAccumulator(str(run.folder / "tb")).Reload()
        for split in SPLITS:
            found[run.run, split] = events.Scalars(f"{split}/uar")[-1].value
    return found


def aggregation(quick: bool) -> list[Comparison]:
    """Return the times of a first and a second aggregation, and the time against event files."""
    count = QUICK_RUNS if quick else RUNS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = write_runs(root, count)
        some = runs[:10 if quick else EVENT_RUNS]
        for run in some:
            write_events(run)
        cold, warm = [], []
        for _ in range(1 if quick else 5):
            for path in (root / "study").glob("cache.*"):
                path.unlink()
            cold.append(_seconds(lambda: tables(runs, root)))
            warm.append(_seconds(lambda: tables(runs, root)))

        def ours() -> LoadedResults:
            for path in (root / "study").glob("cache.*"):
                path.unlink()
            return tables(some, root)

        found, theirs = ours(), from_events(some)
        assert all(abs(found.measured[key].metrics["uar"] - value) < 1e-6
                   for key, value in theirs.items()), "the numbers differ"
        events = side_by_side(f"tables of {len(some)} runs, cold, against EventAccumulator", ours,
                              lambda: from_events(some), 1 if quick else 5, 1 / 50)
    return [_seconds_of(f"tables of {count:,} runs x 3 test sets, cold", cold, 5.0),
            _seconds_of(f"tables of {count:,} runs x 3 test sets, again", warm, 1.0), events]


def made(seed: int, n: int = 300) -> Predictions:
    """Return the predictions of a model on one simulated test set."""
    labels = np.random.default_rng(0).choice(3, n, p=[0.1, 0.36, 0.54])
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    return Predictions([f"p{i}" for i in range(n)], [f"q{i // 2}" for i in range(n)], labels,
                       logits.astype(np.float32), CLASSES)


def leaving_out(quick: bool) -> Comparison:
    """Return the time per model of the jackknife over people against a loop with scikit-learn."""
    models = [made(seed) for seed in range(1, 1 + (20 if quick else MODELS))]
    few = models[:LOOP_MODELS]

    def ours() -> list[float]:
        found = [jackknife(tabulate({0: one}), "uar") for one in models]
        return [float((one.deviations ** 2).sum()) ** 0.5 for one in found if one]

    def theirs() -> list[float]:
        found = []
        for one in few:
            people, predicted = np.array(one.clusters), one.predicted
            left = np.array([balanced_accuracy_score(one.labels[kept], predicted[kept])
                             for name in sorted(set(one.clusters)) for kept in [people != name]])
            found.append(float(((len(left) - 1) * left.var()) ** 0.5))
        return found

    for left, right in zip(ours(), theirs(), strict=False):
        assert abs(left - right) < 0.002, "the standard errors differ"
    found = side_by_side("", ours, theirs, 3, None)
    share = len(few) / len(models)  # the loop covers fewer models
    return Comparison(f"jackknife over people x {len(models)} models, against scikit-learn's "
                      "loop (per model)", found.ours / len(models), (found.theirs or 0) / len(few),
                      "ms", found.ratio * share, found.low * share, found.high * share, 0.05)


def _seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def _seconds_of(name: str, times: list[float], target: float) -> Comparison:
    middle = sorted(times)[len(times) // 2]
    return Comparison(f"{name} (seconds)", middle * 1e3, None, "ms", middle, min(times),
                      max(times), target)


def measure_report(quick: bool) -> list[Comparison]:
    """Return all comparisons of this module."""
    return [*aggregation(quick), leaving_out(quick)]
