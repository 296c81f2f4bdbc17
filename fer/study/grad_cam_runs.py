"""Runs whose Grad-CAM maps a report shows: the best by validation alone.

The maps are in `attention/` of the run folder; `fer.train.grad_cam` draws them.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from fer.config.paths import REPOSITORY
from fer.config.run import Data
from fer.config.study import Study
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.safe_path import python
from fer.study.run_folder import RunFolder, Store
from fer.study.study_folder import StudyFolder
from fer.untrusted_io import read_json

FOLDER, SCHEMA = "attention", 1
MOST = 4  # training sets whose best run is shown
WORDS = {"uar": "UAR", "macro_f1": "macro-F1"}  # display names of metrics


@dataclass(frozen=True)
class Best:
    """The best run trained on one set, and the criterion."""

    folder: RunFolder
    train_on: str
    why: str


def best_runs(study: StudyFolder, store: Store) -> list[Best]:
    """Return the best trained run of each training set, starting with the synthetic one.

    Scores from different validation splits are not compared.
    """
    found: dict[str, tuple[float, Best]] = {}
    for entry, folder in study.runs(store):
        if not (entry.wanted and folder.trained):
            continue
        try:
            facts = read_json(folder.path / "train.json")
            score, select = float(facts["best_score"]), str(facts["select"])
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or from another version
            continue
        why = (f"trained on {entry.train_on}: best by {WORDS.get(select, select)} on validation "
               f"({abs(score):.3f})")
        if entry.train_on not in found or score > found[entry.train_on][0]:  # minus the loss
            found[entry.train_on] = score, Best(folder, entry.train_on, why)
    gap = study.study.gap
    head = gap.synthetic.split("/")[0] if gap else ""
    names = sorted(found, key=lambda name: name != head)
    return [found[name][1] for name in names[:MOST]]


def twin_splits(study: Study, data: Data) -> tuple[str, str]:
    """Return the unmasked split and its masked copy."""
    if study.gap is None:
        raise CallerError(f"study {study.study} has no gap, so no set of synthetic masks")
    name, _, part = study.gap.synthetic.partition("/")
    original = original_of(name, data)
    if original == name:
        raise CallerError(f"data.sets.{name} is not a masked copy (twin_of), so its unmasked faces "
                          "are unknown")
    return f"{original}/{part}", study.gap.synthetic


def not_drawn(found: Sequence[Best], splits: tuple[str, str]) -> list[Best]:
    """Return the runs without maps for these splits."""
    def drawn(best: Best) -> bool:
        """Return whether a run has the maps of these splits, drawn for the same reason."""
        try:
            index = read_json(best.folder.path / FOLDER / "index.json")
            return bool(index["schema"] == SCHEMA and index["splits"] == list(splits)
                        and index["why"] == best.why)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    return [best for best in found if not drawn(best)]


def draw_in_process(study: StudyFolder, store: Store) -> str:
    """Draw missing maps in another process, so that this one need not import torch.

    Returns:
        why there are no maps, in one line; empty if all are drawn.
    """
    try:
        splits = twin_splits(study.study, study.data)
    except CallerError:  # no masked copy, so nothing to compare
        return ""
    if not not_drawn(best_runs(study, store), splits):
        return ""
    done = subprocess.run(python("-m", "fer.train.grad_cam", study.study.study),
                          cwd=REPOSITORY, capture_output=True, text=True)
    last = (done.stderr.strip().splitlines() or ["no error message"])[-1]
    return f"Grad-CAM maps were not drawn: {last}" if done.returncode else ""
