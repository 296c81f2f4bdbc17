"""Where a model for use comes from: a run, a weights file, or an exported folder.

Reads files only; building the network is in `fer.inference.predictor`, so that this is quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.config.paths import home
from fer.errors import CallerError
from fer.evaluate.calibration import Calibration
from fer.evaluate.predictions import DamagedFile, Predictions
from fer.study.folds import validation_predictions
from fer.study.run_folder import RunFolder, Store
from fer.study.trained_runs import find_runs
from fer.untrusted_io import read_json

WEIGHTS, ABOUT = "model.safetensors", "preprocessing.json"  # files of an exported folder


@dataclass(frozen=True)
class ModelSource:
    """A model on disk.

    Attributes:
        name: of the run, file or folder.
        weights: a weights file of this project.
        precision: `float32` or `bf16`, as the model is evaluated.
        validation: its predictions on the pictures that selected it, with `train.folds` those of
            the runs on all folds; None if unknown.
        split: where those are from.
        calibration: of an exported folder, which has no predictions.
    """

    name: str
    weights: Path
    precision: str = "float32"
    validation: Predictions | None = None
    split: str = ""
    calibration: Calibration | None = None


def find_models(name: str) -> list[ModelSource]:
    """Return the models of a name: those of all runs that a pattern fits, otherwise one.

    Args:
        name: run folder, name, id or pattern; weights file; exported folder.

    Raises:
        CallerError: there is none, or it is not readable.
    """
    path = Path(name)
    if path.is_file():
        return [ModelSource(path.stem, path)]
    if (path / ABOUT).is_file():
        return [_of_folder(path)]
    if path.is_dir() and not (path / "train.json").is_file():
        raise CallerError(f"{path}: neither a trained run (no train.json) nor a folder of "
                          f"launch/weights.py export --folder (no {ABOUT})")
    return [_of_run(run) for run in find_runs(Store(home()), [name])]


def _of_run(run: RunFolder) -> ModelSource:
    from fer.train.checkpoint import Checkpoints  # imports torch

    split = f"{run.config.train_on}/val"
    try:
        validation, split = validation_predictions(run)
    except FileNotFoundError:  # evaluated where the training pictures were gone
        validation = None
    except DamagedFile as error:
        raise CallerError(f"{error}; launch/evaluate.py {run.name} --split {split} makes it "
                          "again") from None
    best = Checkpoints(run.path / "checkpoints", keep=2).best()
    return ModelSource(run.name, best / WEIGHTS, run.config.compute.precision, validation, split)


def _of_folder(path: Path) -> ModelSource:
    try:
        about: dict[str, Any] = read_json(path / ABOUT)
        found = about["calibration"]
        calibration = Calibration.from_json(found) if found else None
        return ModelSource(str(about["name"]), path / WEIGHTS, str(about["precision"]),
                           split=calibration.split if calibration else "", calibration=calibration)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CallerError(f"{path / ABOUT}: not a description of launch/weights.py export "
                          f"--folder ({type(error).__name__}: {error})") from None
