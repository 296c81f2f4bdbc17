"""Which runs' looks a report shows: the best by validation alone, no test set has a say.

What is drawn of them lies in `attention/` of the run folder. `fer.train.grad_cam` draws it.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from fer.atomic_io import read_json
from fer.config.paths import REPOSITORY
from fer.config.run import Data
from fer.config.study import Study
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.safe_path import python
from fer.study.run_folder import RunFolder, Store
from fer.study.study_folder import StudyFolder

FOLDER, SCHEMA = "attention", 1
MOST = 4  # training sets whose best run is shown
WORDS = {"uar": "UAR", "macro_f1": "macro-F1"}  # metrics, for people


@dataclass(frozen=True)
class Best:
    """The best run of those trained on one set, and by what."""

    folder: RunFolder
    train_on: str
    why: str


def best_runs(study: StudyFolder, store: Store) -> list[Best]:
    """Return the best trained run of each training set; the synthetic one's first.

    Scores of other training sets are from other validation splits and are not compared.
    """
    found: dict[str, tuple[float, Best]] = {}
    for entry, folder in study.runs(store):
        if not (entry.wanted and folder.trained):
            continue
        try:
            facts = read_json(folder.path / "train.json")
            score, select = float(facts["best_score"]), str(facts["select"])
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or of another version
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
    """Return the unmasked split and the synthetic one whose pictures are its twins."""
    if study.gap is None:
        raise CallerError(f"study {study.study} has no gap, so no set of synthetic masks")
    name, _, part = study.gap.synthetic.partition("/")
    original = original_of(name, data)
    if original == name:
        raise CallerError(f"data.sets.{name} is no twin (twin_of), so its faces are not known "
                          "without masks")
    return f"{original}/{part}", study.gap.synthetic


def not_drawn(found: Sequence[Best], splits: tuple[str, str]) -> list[Best]:
    """Return the runs for which nothing was drawn yet on these splits."""
    def drawn(best: Best) -> bool:
        try:
            index = read_json(best.folder.path / FOLDER / "index.json")
            return bool(index["schema"] == SCHEMA and index["splits"] == list(splits)
                        and index["why"] == best.why)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    return [best for best in found if not drawn(best)]


def draw_in_process(study: StudyFolder, store: Store) -> str:
    """Have another process draw what is missing: this one does without torch.

    Returns:
        why there is nothing to see, in a line; empty where all is drawn.
    """
    try:
        splits = twin_splits(study.study, study.data)
    except CallerError:  # no twins, so there is nothing to set side by side
        return ""
    if not not_drawn(best_runs(study, store), splits):
        return ""
    done = subprocess.run(python("-m", "fer.train.grad_cam", study.study.study),
                          cwd=REPOSITORY, capture_output=True, text=True)
    last = (done.stderr.strip().splitlines() or ["no word"])[-1]
    return f"where models look was not drawn: {last}" if done.returncode else ""
