"""What the runs of a study predict on pictures that they were not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.config.run import Data
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.evaluate.metrics import log_probabilities
from fer.evaluate.predictions import DamagedFile, Predictions, predictions_path, read_predictions
from fer.study.run_folder import RunFolder, Store
from fer.study.study_folder import StudyFolder


@dataclass(frozen=True)
class OutOfSample:
    """Mean probabilities over runs.

    Attributes:
        sample_ids: N names, sorted. labels: int64, N.
        probabilities: float64, N x C.
        classes: C names.
        runs: how many runs there are predictions of.
    """

    sample_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    classes: tuple[str, ...]
    runs: int


def out_of_sample(study: StudyFolder, store: Store, split: str) -> OutOfSample:
    """Return what the study's runs predict on a split, each picture by those not trained on it.

    Folds of a cross-validation by people test different pictures of one split: together all. On a
    training split, runs with `train.folds` predict the people of their own fold, in the masks of
    validation if they have any.

    Raises:
        CallerError: no run has such predictions; says what to do.
    """
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = {}
    labels: dict[str, int] = {}
    classes: tuple[str, ...] = ()
    used = trained_on = 0
    trained = {folder.run_id: folder for _, folder in study.runs(store) if folder.trained}
    for folder in trained.values():
        saw = _saw(folder, split, study.data, trained)
        found = _of_own_fold(folder, split) if saw else _read(folder, split)
        if saw and found is None:
            trained_on += 1
            continue
        if found is None or (classes and found.classes != classes):
            continue
        classes, used = found.classes, used + 1
        for name, label, row in zip(found.sample_ids, found.labels.tolist(),
                                    np.exp(log_probabilities(found.logits)), strict=True):
            if labels.setdefault(name, label) == label:
                sums[name] = sums.get(name, 0.0) + row
                counts[name] = counts.get(name, 0) + 1
    if not used:
        why = f"; {trained_on} of its runs were trained on it" if trained_on else ""
        raise CallerError(f"no trained run of {study.path.name} has predictions on {split}{why}; "
                          f"make them with: python launch/evaluate.py --study {study.path.name} "
                          f"--split {split}")
    names = tuple(sorted(sums))
    return OutOfSample(names, np.array([labels[name] for name in names], np.int64),
                       np.stack([sums[name] / counts[name] for name in names]), classes, used)


def _saw(folder: RunFolder, split: str, data: Data, trained: Mapping[str, RunFolder]) -> bool:
    """Return whether a run or its parents were trained on a split, or on it in another set."""
    name, _, part = split.partition("/")
    if part != "train":
        return False

    def origin(one: str) -> str:
        return original_of(one, data) if one in data.sets else one

    waiting, sets = [folder], set[str]()
    while waiting:
        config = waiting.pop().config
        sets |= {origin(one) for one in config.train_sets}
        parents = config.inputs.parents.values() if config.inputs else ()
        waiting += [trained[one] for one in parents if one in trained]
    return origin(name) in sets


def _of_own_fold(folder: RunFolder, split: str) -> Predictions | None:
    """Return what a run predicts on the people of its fold in a training split; None without."""
    config = folder.config
    table = _read(folder, f"{config.train_on}/val") if config.data.folds else None
    kept = [row for row, name in enumerate(table.sample_ids) if name.startswith(f"{split}/")
            ] if table else []
    if not table or not kept:
        return None
    return Predictions([table.sample_ids[row] for row in kept],
                       [table.identities[row] for row in kept], table.labels[kept],
                       table.logits[kept], table.classes)


def _read(folder: RunFolder, split: str) -> Predictions | None:
    """Return a run's predictions; None if there are none or they are damaged."""
    try:
        return read_predictions(predictions_path(folder.path, split))
    except (FileNotFoundError, DamagedFile):
        return None
