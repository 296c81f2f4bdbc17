"""A copy of the code that jobs run, so that editing after submission changes nothing in the queue.

Tracked files and untracked ones that are not ignored, with the commit and what differs from it.
Works without git too, by the lines of `.gitignore`. Not for data: large folders are refused.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import xxhash

from fer.errors import CallerError
from fer.publish import building_folder, read_json, write_json

RECORD = ".snapshot.json"
DIFF = ".snapshot.diff"
MOST_BYTES = 100e6  # code is a few MB; more is data that somebody forgot to ignore


def snapshot(repository: Path, place: Path) -> Path:
    """Copy the code below `place` and return the folder; the same code is copied once.

    Raises:
        CallerError: more than 100 MB would be copied.
    """
    folder = snapshot_folder(repository, place)
    if not folder.is_dir():
        files = code_files(repository)
        _refuse_data(repository, files)
        with building_folder(folder) as building:
            for name in files:
                target = building / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(repository / name, target, follow_symlinks=False)
            state = git_state(repository)
            if state["dirty"]:
                (building / DIFF).write_text(_diff(repository), encoding="utf-8")
            write_json(building / RECORD, {"git": state, "files": len(files)})
    return folder


def snapshot_folder(repository: Path, place: Path) -> Path:
    """Return where the snapshot of the present code lies, or will lie."""
    return place / f"code-{_digest(repository, code_files(repository))}"


def code_files(repository: Path) -> list[str]:
    """Return the files of a snapshot, relative to the repository, sorted."""
    try:
        listed = _git(repository, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = list(_walk(repository, _ignored_names(repository)))
    return sorted(name for name in listed
                  if name and name not in (RECORD, DIFF) and (repository / name).is_file())


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit and whether files differ from it; nulls where there is no git.

    A snapshot says of which commit it is.
    """
    record = folder / RECORD
    if record.is_file():
        return dict(read_json(record)["git"])
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain").strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _diff(repository: Path) -> str:
    """Return what differs from the commit; a snapshot of a snapshot has kept it."""
    if (repository / DIFF).is_file():
        return (repository / DIFF).read_text(encoding="utf-8")
    return _git(repository, "diff", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True,
                          check=True).stdout


def _ignored_names(repository: Path) -> list[str]:
    """Return the patterns of `.gitignore`, as names of files and folders."""
    file = repository / ".gitignore"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [".git", *(line.strip().strip("/") for line in lines
                      if line.strip() and not line.startswith("#"))]


def _walk(repository: Path, ignored: list[str]) -> Iterator[str]:
    def kept(folder: Path, name: str) -> bool:
        relative = str((folder / name).relative_to(repository))
        return not any(fnmatch(name, pattern) or fnmatch(relative, pattern) for pattern in ignored)

    for place, folders, files in os.walk(repository):
        folders[:] = [name for name in folders if kept(Path(place), name)]
        for name in files:
            if kept(Path(place), name):
                yield str((Path(place) / name).relative_to(repository))


def _refuse_data(repository: Path, files: list[str]) -> None:
    sizes = {name: (repository / name).lstat().st_size for name in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise CallerError(f"{repository}: the code to copy has {sum(sizes.values()) / 1e6:.0f} MB, "
                          f"the largest file is {largest}; name data in .gitignore")


def _digest(repository: Path, files: list[str]) -> str:
    state = xxhash.xxh3_128()
    for name in files:
        content = (repository / name).read_bytes()
        state.update(f"{name}\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:12]
