"""The study folder: study file, list of runs, TensorBoard links, tuned values."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.atomic_io import write_json, write_yaml
from fer.config.load import dump
from fer.config.run import Data
from fer.config.study import Study
from fer.config.validate import validate
from fer.config.yaml_io import read_tree
from fer.errors import CallerError, choices
from fer.study.expand import Kind, Run
from fer.study.run_folder import RunFolder, Store
from fer.study.slurm_jobs import read_queue
from fer.study.submission import Submission
from fer.untrusted_io import plain_name, read_json, read_object, record

INDEX_SCHEMA = 1


@dataclass(frozen=True)
class Entry:
    """One run of a study, as `index.json` lists it."""

    run: str
    run_id: str
    config_id: str
    backbone: str
    recipe: str
    train_on: str
    seed: int
    axes: dict[str, str]
    wanted: bool
    parents: list[str]


@dataclass(frozen=True)
class StudyFolder:
    """Content of `studies/<study>/`, as written by the launcher."""

    path: Path
    study: Study
    data: Data
    entries: list[Entry]

    def runs(self, store: Store) -> list[tuple[Entry, RunFolder]]:
        """Return each entry with its run folder, in the study's order."""
        return [(entry, RunFolder(store.runs / entry.run)) for entry in self.entries]

    def record_ends(self) -> None:
        """Record how the study's jobs ended, since SLURM forgets it."""
        jobs = read_queue()
        for path in sorted((self.path / "slurm").glob("[0-9]*/jobs.json")):
            Submission(path.parent).record_ends(jobs)


def write_study(store: Store, study: Study, runs: Sequence[Run], data: Data) -> Path:
    """Write `study.yaml`, `index.json` and the TensorBoard links, and return the folder."""
    folder = store.study(study.study)
    entries: list[dict[str, Any]] = []
    for run in runs:
        config = run.config
        entries.append({
            "run": store.folder(run).name, "run_id": run.id, "config_id": run.config_id,
            "backbone": config.backbone.name, "recipe": config.recipe.name,
            "train_on": config.train_on, "seed": config.seed, "axes": run.axes,
            "wanted": run.wanted, "parents": list(run.parents)})
    write_yaml(folder / "study.yaml", dump(study))
    write_json(folder / "index.json", {"schema": INDEX_SCHEMA, "data": dump(data),
                                       "runs": entries})
    _link(folder / "tb", {entry["run"]: store.runs / entry["run"] / "tb" for entry in entries})
    return folder


def _link(folder: Path, targets: dict[str, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name not in targets and path.is_symlink():
            path.unlink()
    for name, target in targets.items():
        with suppress(FileExistsError):
            (folder / name).symlink_to(os.path.relpath(target, folder))


def read_study(store: Store, name: str) -> StudyFolder:
    """Return a started study, by its name or the path of its study file.

    Raises:
        CallerError: it was never started, or its folder is from another version.
    """
    if name.endswith((".yaml", ".yml")):
        from fer.config.load import load_study

        name = load_study(name).study
    path = store.study(name)
    if not (path / "index.json").is_file():
        started = choices(p.name for p in path.parent.glob("*") if (p / "index.json").is_file())
        raise CallerError(f"no study '{name}' has been started in {path.parent}; "
                          f"there are: {started or 'none'}")
    data, entries = _read_index(path / "index.json")
    study = validate(Study, read_tree(path / "study.yaml"), str(path / "study.yaml"))
    return StudyFolder(path, study, data, entries)


def _read_index(file: Path) -> tuple[Data, list[Entry]]:
    try:
        index = read_object(file)
        if index["schema"] != INDEX_SCHEMA:
            raise ValueError(f"schema {index['schema']!r}")
        entries = [record(Entry, entry) for entry in index["runs"]]
        for entry in entries:
            plain_name(entry.run)
        return validate(Data, index["data"], str(file)), entries
    except CallerError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise CallerError(f"{file}: damaged or written by another version; "
                          "run launch/sweep.py on the study again") from None


def read_tuned(names: Sequence[str], studies: Path) -> dict[Kind, dict[str, Any]]:
    """Return (backbone, recipe) -> the best overrides of each search.

    Args:
        names: names of searches.
        studies: folder that contains their folders.

    Raises:
        CallerError: a search has no result yet, or two are for the same backbone and recipe.
    """
    found: dict[Kind, dict[str, Any]] = {}
    for name in names:
        try:
            best = read_json(studies / name / "best.json")
            kind = (str(best["backbone"]), str(best["recipe"]))
            params = dict(best["params"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CallerError(f"tuned: search '{name}' has no result in {studies / name}; "
                              "run it first: python launch/tune.py FILE") from None
        if kind in found:
            raise CallerError(f"tuned: two searches for {' with '.join(kind)}; name one of them")
        found[kind] = params
    return found
