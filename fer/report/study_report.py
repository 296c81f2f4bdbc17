"""The report of a study folder: locates its run folders and images."""

import csv
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from fer.config.blocks import block_label
from fer.config.paths import cache, data_root
from fer.config.run import Data
from fer.config.study import FOLD
from fer.data.faces.framing_record import recall
from fer.data.layout import discover
from fer.data.metadata import Facts as PictureFacts
from fer.data.metadata import read_facts
from fer.data.splits import folder_of, pictures_of
from fer.errors import CallerError
from fer.report.build_report import About, build_report
from fer.report.read.run_files import ReportRun
from fer.report.subgroups import Facts
from fer.report.terminal import print_summary
from fer.study.grad_cam_runs import best_runs
from fer.study.inputs import InputDigests
from fer.study.leakage import find_overlaps, refuse_overlaps
from fer.study.run_folder import RunFolder, Store
from fer.study.status import rows_of
from fer.study.study_folder import StudyFolder

KINDS = ("mask_type", "pose", "annotator")  # and all further columns: subgroups of a test set
NAMED = ("backbone", "recipe", "train_on", "seed")  # grid keys that are fields of `ReportRun`


def report_study(study: StudyFolder, store: Store, console: Console) -> bool:
    """Build `report/` of a study, print its summary, and return whether it includes every run."""
    runs, complete = runs_of(study, store)
    summary = build_report(study.study, runs, study.path / "report", about(study, store))
    print_summary(summary, console)
    return complete


def runs_of(study: StudyFolder, store: Store) -> tuple[list[ReportRun], bool]:
    """Return the runs that a report covers, and whether all runs of the study are done."""
    rows = {row.run: row for row in rows_of(study, store)}
    runs = []
    for entry, folder in study.runs(store):
        row = rows[entry.run]
        error = "\n".join(part for part in (row.error, row.traceback) if part) or None
        if entry.wanted or row.state == "failed":
            runs.append(ReportRun(
                run=entry.run, run_id=entry.run_id, config_id=entry.config_id,
                backbone=entry.backbone, recipe=entry.recipe, train_on=entry.train_on,
                seed=entry.seed, folder=folder.path, state=row.state, error=error,
                axes={key: value for key, value in entry.axes.items()
                      if key not in (*NAMED, FOLD)},
                fold=int(entry.axes[FOLD]) if FOLD in entry.axes else None,
                folds=_folds_of(folder) if FOLD in entry.axes else 0))
    return runs, all(row.state == "done" for row in rows.values())


def _folds_of(folder: RunFolder) -> int:
    """Return the number of folds of a run's configuration; 0 if it cannot be read."""
    with suppress(CallerError, OSError):
        folds = folder.config.data.folds
        return folds.of if folds else 0
    return 0


def about(study: StudyFolder, store: Store) -> About:
    """Return what is known about the images of a study."""
    return About(picture_files(study.data, data_root()), facts_of(study.data, data_root()),
                 [best.folder.name for best in best_runs(study, store)],
                  known_people(study, store), labels_of(study), unknown_people(study, store),
                  framing_of(study))


def unknown_people(study: StudyFolder, store: Store) -> set[str]:
    """Return the test and validation sets in which nobody is known, among those still on disk."""
    contents = InputDigests(data_root(), cache())
    trained = {f"{entry.train_on}/val" for entry, _ in study.runs(store)}
    found = set()
    for name in {*study.study.evaluate_on, *trained}:
        sets, _, part = name.partition("/")
        with suppress(CallerError):  # the data are gone: the predictions say who is known
            if not any(contents.people(f"{one}/{part}", study.data) for one in sets.split("+")):
                found.add(name)
    return found


def framing_of(study: StudyFolder) -> dict[str, str]:
    """Return test split -> its framing in words, as far as `data.py verify` has measured it."""
    found = {}
    for split in study.study.evaluate_on:
        with suppress(CallerError):  # the data are gone
            files = [picture.path for picture in pictures_of(split, study.data, data_root())]
            if said := recall(cache(), files):
                found[split] = said
    return found


def labels_of(study: StudyFolder) -> dict[tuple[str, str], str]:
    """Return the names in words of the study's sets, backbones and recipes."""
    found = {("train_on", name): one.label for name, one in study.data.sets.items()}
    for entry in study.entries:
        for key, value in (("backbone", entry.backbone), ("recipe", entry.recipe)):
            if (key, value) not in found:
                found[key, value] = block_label(key, value)
    return {key: label for key, label in found.items() if label}


def known_people(study: StudyFolder, store: Store) -> list[str]:
    """Return a line for each test split that has people or pictures in common with training.

    Those of one family of sets, and equal pictures, only if accepted by name: others are refused.
    """
    splits = study.study.evaluate_on
    accepted = [split for split in splits if split in study.data.shared_people]
    configs = [folder.config for _, folder in study.runs(store)
               if (folder.path / "config.yaml").is_file()]
    contents = InputDigests(data_root(), cache())
    lines: list[str] = []
    try:
        found = find_overlaps(configs if accepted else [], accepted, study.data, contents)
        lines = refuse_overlaps([one for one in found if one.kind != "names"], accepted)
    except CallerError:  # the data are gone; the number was reported when the study was planned
        lines = [f"{split}: may contain people of the training set (data.shared_people)"
                 for split in accepted]
    for split in splits:
        with suppress(CallerError):
            lines += map(str, find_overlaps(configs, [split], study.data, contents, ["names"]))
    return lines


def picture_files(data: Data, root: Path) -> Callable[[str], Path | None]:
    """Return a function from sample id (`real/test/neutral/A_B_0001.jpg`) to its file or None."""
    folders: dict[str, Path | None] = {}

    def find(sample_id: str) -> Path | None:
        """Return the file of an image, None if there is none."""
        name, _, relative = sample_id.partition("/")
        if name not in folders:
            folders[name] = _folder(data, root, name)
        folder = folders[name]
        path = folder / relative if folder else None
        return path if path and path.is_file() else None

    return find


def facts_of(data: Data, root: Path) -> Facts:
    """Return a function from sample id to its metadata: mask type, pose, further columns."""
    known: dict[str, Mapping[str, PictureFacts]] = {}

    def find(sample_id: str) -> dict[str, str]:
        """Return the known metadata of an image by kind."""
        name, _, relative = sample_id.partition("/")
        if name not in known:
            known[name] = _facts_of_set(_folder(data, root, name))
        one = known[name].get(relative)
        return {} if one is None else {key: value for key in KINDS if (value := getattr(one, key))
                                       } | dict(one.more)

    return find


def _facts_of_set(folder: Path | None) -> Mapping[str, PictureFacts]:
    """Return a set's metadata; empty if unreadable, which `data.py verify` reports."""
    try:
        return read_facts(folder) if folder else {}
    except (CallerError, OSError, csv.Error):
        return {}


def _folder(data: Data, root: Path, name: str) -> Path | None:
    if name not in data.sets:
        return None
    try:
        return discover(folder_of(name, data, root))
    except CallerError:  # the data are gone; the report is built without images
        return None
