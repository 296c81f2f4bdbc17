"""A simulated study on disk: numpy draws the logits, nothing is trained. Used by report tests."""

import csv
import json
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from commands import reports_without_figures

from fer.config.study import Study
from fer.evaluate.metrics import measure, result_path, write_result
from fer.evaluate.predictions import Predictions, predictions_path, write_predictions
from fer.report.build_report import About, ReportSummary, build_report, no_facts
from fer.report.read.run_files import ReportRun

CLASSES = ("negative", "neutral", "positive")
SETS = {"lfw/eval": ("a", 300), "mlfw/eval": ("a", 300), "real/test": ("b", 135)}
SMALL = {"mlfw/eval": ("a", 80), "real/test": ("b", 60)}
SKILL = {"lfw/eval": 2.6, "mlfw/eval": 1.9, "real/test": 1.0}


@dataclass(frozen=True)
class Simulated:
    """A study, its runs on disk, and where a report goes."""

    study: Study
    runs: list[ReportRun]
    out: Path
    root: Path

    def file(self, run: int, kind: str, split: str) -> Path:
        """Return the path of a result or of predictions of one run."""
        folder = self.runs[run].folder
        return (result_path if kind == "results" else predictions_path)(folder, split)


def make_study(**changes: object) -> Study:
    """Return a study of 2 backbones x 2 recipes x 2 training sets x seeds."""
    content: dict[str, object] = {
        "schema": 1, "study": "simulated", "base": "configs/base.yaml",
        "grid": {"backbone": ["cbam_tiny", "resmasking_tiny"], "recipe": ["scratch", "lp_ft"],
                 "train_on": ["lfw", "mlfw"], "seed": [0, 1]},
        "evaluate_on": list(SETS), "gap": {"synthetic": "mlfw/eval", "real": "real/test"},
        "compare": {"recipes": {"over": "recipe", "on": ["mlfw/eval", "real/test"]}},
    }
    return Study.model_validate(content | changes)


def people(split: str,
           sizes: dict[str, tuple[str, int]]) -> tuple[list[str], list[str], np.ndarray]:
    """Return sample ids, identities and labels of a test set; twins share people and labels."""
    crowd, n = sizes[split]
    rng = np.random.default_rng([ord(crowd), n])
    labels = rng.choice(3, n, p=[0.12, 0.36, 0.52])
    names = [f"{crowd.upper()}_{index // 2}" for index in range(n)]
    ids = [f"{split}/{CLASSES[label]}/{crowd}_{i:04d}.jpg" for i, label in enumerate(labels)]
    return ids, names, labels


def predictions(split: str, skill: float, key: list[int],
                sizes: dict[str, tuple[str, int]] = SETS) -> Predictions:
    """Return simulated predictions: some pictures are hard for every model."""
    ids, names, labels = people(split, sizes)
    rng, shared = np.random.default_rng(key), np.random.default_rng(len(split))
    hard = shared.normal(size=(len(ids), 3)) + shared.normal(size=len(ids))[:, None] * 0.3
    logits = skill * np.eye(3)[labels] + 1.2 * hard + 0.8 * rng.normal(size=(len(ids), 3))
    return Predictions(ids, names, labels, logits.astype(np.float32), CLASSES)


def write_run(run: ReportRun, tables: dict[str, Predictions]) -> None:
    """Write one run folder: results, predictions, learning curve."""
    for split, table in tables.items():
        write_predictions(predictions_path(run.folder, split), table)
        write_result(result_path(run.folder, split), split, f"digest of {split}",
                     measure(table.labels, table.logits, table.classes))
    rng = np.random.default_rng(run.seed)
    lines = [{"epoch": epoch, "phase": "probe" if epoch < 3 and run.recipe == "lp_ft" else "all",
              "train_loss": 1.1 / (epoch + 1), "val_uar": 0.8 - 0.45 * 0.7 ** epoch
              + 0.02 * float(rng.normal())} for epoch in range(10)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


def simulate(root: Path, seeds: int = 2, equal: bool = False,
             sizes: dict[str, tuple[str, int]] = SETS) -> Simulated:
    """Return a finished study; `equal` gives all configurations one skill."""
    written, files = _written(seeds, equal, tuple(sizes.items()))
    runs = [replace(run, folder=root / "runs" / run.run) for run in written]
    for name, content in files.items():
        (root / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "runs" / name).write_bytes(content)
    study = make_study(grid={"backbone": ["cbam_tiny", "resmasking_tiny"], "seed": [0, 1]})
    return Simulated(study, runs, root / "studies/simulated/report", root)


@cache
def _written(seeds: int, equal: bool, given: tuple[tuple[str, tuple[str, int]], ...]
             ) -> tuple[list[ReportRun], dict[str, bytes]]:
    """Return the runs of a study and their files; measuring them takes as long as a report."""
    with tempfile.TemporaryDirectory() as folder:
        runs = _write_all(seeds, equal, dict(given), Path(folder))
        return runs, {str(file.relative_to(folder)): file.read_bytes()
                      for file in Path(folder).rglob("*") if file.is_file()}


def _write_all(seeds: int, equal: bool, sizes: dict[str, tuple[str, int]], root: Path
               ) -> list[ReportRun]:
    runs = []
    for b, backbone in enumerate(["resmasking_tiny", "cbam_tiny"]):
        for r, recipe in enumerate(["scratch", "lp_ft"]):
            for t, train_on in enumerate(["lfw", "mlfw"]):
                for seed in range(seeds):
                    config_id, run_id = f"c{b}{r}{t}00000", f"{b}{r}{t}{seed:05d}"
                    name = f"{backbone}-{recipe}-{train_on}-s{seed}-{run_id}"
                    run = ReportRun(name, run_id, config_id, backbone, recipe, train_on, seed,
                                    root / name, "done")
                    rng = np.random.default_rng([b, r, t, seed])
                    bonus = 0.0 if equal else 0.2 * b + 0.5 * r + 0.1 * rng.normal()
                    write_run(run, {split: predictions(
                        split, SKILL[split] + bonus + (0 if equal else _fit(train_on, split)),
                        [b, r, t, seed, len(split)], sizes) for split in sizes})
                    runs.append(run)
    return runs


def _fit(train_on: str, split: str) -> float:
    return {("lfw", "lfw/eval"): 0.3, ("lfw", "mlfw/eval"): -0.9, ("lfw", "real/test"): -0.5,
            ("mlfw", "lfw/eval"): -0.6}.get((train_on, split), 0.0)


def failed(run: ReportRun, error: str) -> ReportRun:
    """Return `run` as if it had failed."""
    return replace(run, state="failed", error=error)


def nothing(sample_id: str) -> None:
    return None


def build(simulated: Simulated, study: Study | None = None, runs: list[ReportRun] | None = None,
          out: Path | None = None, figures: bool = False, **about: object) -> ReportSummary:
    """Write a report; figures, which take longer than all the rest, only where they are asked for.
    """
    known = {"pictures": nothing, "facts": no_facts} | about
    with nullcontext() if figures else reports_without_figures():
        return build_report(study or simulated.study, simulated.runs if runs is None else runs,
                            out or simulated.out, About(**known))  # type: ignore[arg-type]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))
