"""A small store with every file that commands read, by this project's own writers; no training."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from fer.atomic_io import write_json
from fer.config.load import load_study
from fer.config.run import Data, RunConfig
from fer.config.study import Study
from fer.evaluate.metrics import measure, write_result
from fer.evaluate.predictions import Predictions, write_predictions
from fer.study.expand import Run, expand
from fer.study.lease import Owner
from fer.study.plan import Step
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import Status
from fer.study.slurm_jobs import Jobs
from fer.study.study_folder import StudyFolder, read_study, write_study
from fer.study.submission import Submission

CLASSES = ("negative", "neutral", "positive")
REPOSITORY = Path(__file__).resolve().parents[2]
NAME, SPLITS = "fuzzed", {"mlfw/eval": "1" * 32, "real/test": "2" * 32}
JOBS = Jobs(answered=True, cluster="here")
"""A queue without jobs: nothing asks SLURM."""
ENVIRONMENT = {
    "python": "3.11.7", "packages": {"torch": "2.10.0", "numpy": "2.0.0"}, "cpu": "a CPU",
    "gpu": None, "git": {"commit": "0c1c714aa", "dirty": False}, "world_size": 1,
    "precision": "float32", "digests": {"lfw/train": "d1", "weights": "w1"},
    "pictures": {"lfw/train": 10, "lfw/val": 2}, "validation_pictures": 2, "validation_people": 2,
    "validation_masks": "", "validation_drawn": "", "kept": "the best epoch", "few_people": "x",
    "unlabelled": ["real/test"]}


@dataclass(frozen=True, eq=False)
class WrittenStore:
    """A store with one study, whose first run is done and whose second one is in a SLURM job."""

    store: Store
    runs: list[Run]
    data: Data

    @property
    def done(self) -> RunFolder:
        """The finished run."""
        return self.store.folder(self.runs[0])

    @property
    def working(self) -> RunFolder:
        """The run that another host's job works on."""
        return self.store.folder(self.runs[1])

    @property
    def folder(self) -> Path:
        """The folder of the study."""
        return self.store.study(NAME)

    @property
    def study(self) -> StudyFolder:
        """The study, read anew."""
        return read_study(self.store, NAME)


def _digests(config: RunConfig) -> dict[str, str]:
    return {f"{name}/{part}": f"{name}-{part}" for name in config.train_sets
            for part in ("train", "val")}


def write_store(home: Path) -> WrittenStore:
    """Write a store at `home`."""
    home.mkdir(parents=True)
    study = _study(home / "fuzzed.yaml")
    store, runs = Store(home), expand(study, _digests)
    written = WrittenStore(store, runs, runs[0].config.data)
    write_study(store, study, runs, written.data)
    submission = Submission(store.study(NAME) / "slurm/001")
    submission.write({0: [Step(run, "train", tuple(SPLITS)) for run in runs]},
                     {run.id: run.name for run in runs}, SPLITS, written.data, "#!/bin/sh\n")
    submission.set_job("7", cluster="here", user="somebody")
    write_json(submission.folder / "ended.json", {"6_0": "FAILED", "5_0": "TIMEOUT"})
    for run in runs:
        RunFolder(store.runs / run.name).register(
            run, {"cluster": "gpu", "submission": f"studies/{NAME}/slurm/001", "index": 0})
    _finish(RunFolder(store.runs / runs[0].name))
    _before(written.done)
    _begin(RunFolder(store.runs / runs[1].name))
    write_json(written.folder / "trials.json", {"schema": 1, "trials": [
        {"number": 0, "params": {"optim.lr": 0.1}, "run": runs[0].name, "score": 0.5,
         "curve": [0.5], "state": "done", "epochs": 1}]})
    write_json(written.folder / "best.json", {"backbone": "resmasking_tiny", "recipe": "scratch",
                                              "params": {"optim.lr": 0.1}})
    write_json(written.folder / "code/.snapshot.json", {
        "git": {"commit": "0c1c714aa", "dirty": False}, "files": 3})
    return written


def _study(file: Path) -> Study:
    content = {"schema": 1, "study": NAME, "base": str(REPOSITORY / "configs/drawn.yaml"),
               "grid": {"backbone": ["resmasking_tiny"], "train_on": ["lfw"], "seed": [0, 1]},
               "set": {"data.drawn": None}, "evaluate_on": list(SPLITS),
               "gap": {"synthetic": "mlfw/eval", "real": "real/test"}}
    file.write_text(yaml.safe_dump(content))
    return load_study(file)


def _begin(folder: RunFolder) -> None:
    folder.write_status(Status(state="running", step=3, steps=90, epoch=1, epochs=9, phase="all",
                               metric=0.5, heartbeat=1.8e9, job_id="7_0", node="n1",
                               restarts=1, begun=True, notes=["a"]))
    owner = Owner("elsewhere", "b00t", 4242, "99", "7_0", 1)
    folder.lease.path.write_text(json.dumps(asdict(owner)))
    write_json(folder.path / "lease.owner.json", {"owners": [
        {"owner": asdict(owner), "cluster": "here", "user": "somebody", "comment": "fer:001:ab"}]})


def _before(done: RunFolder) -> None:
    """Write a finished run of the same name but for its id, which had other pictures."""
    folder = done.path.with_name(f"{done.name.rpartition('-')[0]}-0123456789")
    shutil.copytree(done.path, folder)
    text = (folder / "config.yaml").read_text().replace("lfw/train: lfw-train", "lfw/train: other")
    (folder / "config.yaml").write_text(text)


def _finish(folder: RunFolder) -> None:
    folder.write_status(Status(state="done", step=90, steps=90, epoch=9, epochs=9, seconds=60.0))
    write_json(folder.path / "env.json", ENVIRONMENT)
    write_json(folder.path / "train.json", {"best_score": 0.7, "select": "uar", "step": 90})
    lines = [{"epoch": epoch, "step": 10 * epoch, "phase": "all", "train_loss": 1.0,
              "val_uar": 0.5, "val_loss": 0.9} for epoch in range(3)]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for split, digest in {**SPLITS, "lfw/val": "3" * 32}.items():
        table = predictions(split)
        write_predictions(folder.predictions(split), table)
        write_result(folder.result(split), split, digest,
                     measure(table.labels, table.logits, table.classes))
    write_json(folder.path / "attention/index.json", {
        "schema": 1, "why": "best", "splits": ["lfw/eval", "mlfw/eval"], "looks": [
            {"sample_id": "a", "label": "neutral", "unmasked": "neutral", "masked": "positive",
             "file": "a.jpg"}]})
    (folder.path / "attention/a.jpg").write_bytes(b"\xff\xd8")


def predictions(split: str, n: int = 20) -> Predictions:
    """Return a small table whose pictures are those of `split`."""
    logits = np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)
    return Predictions([f"{split}/{number}.jpg" for number in range(n)],
                       [f"P{number}" for number in range(n)], np.arange(n) % 3, logits, CLASSES)


def write_image(path: Path, seed: int) -> None:
    """Write a small picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), np.uint8)
    Image.fromarray(noise).save(path)
