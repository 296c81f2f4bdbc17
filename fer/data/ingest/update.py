"""Changes of a set in the data root: update a split from its source, remove a set or a split.

Only splits that `data.py add` wrote are changed. A new version of a split is complete before it
takes the place of the old one.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from fer.data.digest import file_digests
from fer.data.ingest.add import AddRequest, add, set_folder
from fer.data.ingest.dataset_writer import read_record
from fer.data.layout import SPLITS, split_folders
from fer.data.metadata import Facts, read_facts, read_people, write_facts, write_people
from fer.data.pack import only_builder
from fer.errors import CallerError, choices, plural

Progress = Callable[[int, int], None]
STAGE = ".update"  # suffix of the folder in which a new version is written


def update(request: AddRequest, root: Path, progress: Progress | None = None) -> list[str]:
    """Import a source again into the set that has its splits, and say what changed.

    Raises:
        CallerError: as in `add`; no such set, or a split that `add` did not write.
    """
    if not request.name:
        raise CallerError("update needs the set's name: --as NAME")
    target = set_folder(request.name, root)
    if not target.is_dir():
        raise CallerError(f"no data set {target}; import it with python launch/data.py add")
    stage = f".{request.name.replace('/', '-')}{STAGE}"
    shutil.rmtree(root / stage, ignore_errors=True)  # of a call that was killed
    try:
        lines = add(replace(request, name=stage), root, progress)
        with only_builder(target):
            changes = _exchange(target, root / stage)
    finally:
        shutil.rmtree(root / stage, ignore_errors=True)
    return [*(line.replace(stage, request.name) for line in lines if "pictures (" not in line),
            *(f"{request.name}/{line}" for line in changes)]


def _exchange(target: Path, stage: Path) -> list[str]:
    """Move the splits of `stage` to `target`; return a line for each."""
    new = dict(split_folders(stage))
    _require_added(target, new)
    facts, coming = dict(read_facts(target)), read_facts(stage)
    write_facts(target, {**facts, **coming})  # first: a kill leaves no picture without its person
    write_people(target, {**read_people(target), **read_people(stage)})
    lines = []
    for split, folder in sorted(new.items()):
        old = target / split
        before, after = _contents(old), _contents(folder)
        changed = sum(before[name] != after[name] for name in before.keys() & after.keys())
        told = sum(facts.get(f"{split}/{name}", Facts()) != coming.get(f"{split}/{name}", Facts())
                   for name in before.keys() & after.keys())
        lines.append(f"{split}: {plural(len(after), 'picture')}: "
                     f"{len(after.keys() - before.keys())} new, "
                     f"{len(before.keys() - after.keys())} gone, {changed} changed"
                     + (f", {told} with other people, mask types or poses" if told else ""))
        if old.exists():
            os.rename(old, stage / f".old-{split}")
        os.rename(folder, old)
    kept = {file: one for file, one in facts.items() if file.split("/")[0] not in new}
    write_facts(target, {**kept, **coming})
    return lines


def _require_added(target: Path, splits: Iterable[str]) -> None:
    """Refuse splits that exist and were not written by `add`."""
    for split in splits:
        if (target / split).exists() and not read_record(target / split):
            raise CallerError(f"{target / split} was not added by this project; change it yourself")


def _contents(folder: Path) -> Mapping[str, str]:
    """Return class/name -> digest of each picture below a split folder."""
    files = [path for path in sorted(folder.glob("*/*")) if path.is_file()]
    digests = file_digests(files)
    return {str(path.relative_to(folder)): digests[path] for path in files}


def remove(name: str, root: Path, sure: bool) -> list[str]:
    """Remove a set, or one split of it (`REAL-FER/test`); pictures it links to stay.

    Args:
        name: of the set's folder below `root`, and a split.
        sure: otherwise nothing is removed.

    Raises:
        CallerError: no such set or split, one that `add` did not write, or not `sure`.
    """
    whole = set_folder(name, root)
    target, part = (whole, "") if whole.is_dir() and whole.name not in SPLITS else (
        whole.parent, whole.name)
    there = dict(split_folders(target)) if target.is_dir() and target != root else {}
    if not there or (part and part not in there):
        raise CallerError(f"no data set or split '{name}' below {root}; there are: "
                          f"{choices(f'{target.name}/{split}' for split in there) or 'none'}")
    splits = [part] if part else sorted(there)
    _require_added(target, splits)
    lines = [f"{target.name}/{split}: {plural(len(list(there[split].glob('*/*'))), 'picture')}"
             for split in splits]
    if not sure:
        raise CallerError(f"would remove {', '.join(lines)} in {target}; --yes removes them")
    with only_builder(target):
        for split in splits:
            shutil.rmtree(there[split])
        facts = {file: one for file, one in read_facts(target).items()
                 if file.split("/")[0] not in splits}
        write_facts(target, facts)
        write_people(target, {split: rule for split, rule in read_people(target).items()
                              if split not in splits})
        if not part:
            shutil.rmtree(target)
    return [f"{line} removed" for line in lines]
