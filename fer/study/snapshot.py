"""Snapshot of the code that jobs run, so that edits after submission do not affect queued jobs.

Contains tracked files and untracked ones that are not ignored, with the commit and the diff to it.
Works without git too, by `.gitignore`. The name contains the digest of the content, and an existing
folder is reused only if it matches. Not for data: large folders are refused.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import xxhash
from pathspec import GitIgnoreSpec

from fer.atomic_io import building_folder, write_json
from fer.errors import CallerError
from fer.untrusted_io import read_object, record

RECORD = ".snapshot.json"
DIFF = ".snapshot.diff"
IMPORTED = ".path"  # folder of a snapshot on `sys.path`; contains only `fer`
BYTECODE = "__pycache__"
MOST_BYTES = 100e6  # code is a few MB; more is data missing from .gitignore
MOST_COPIES = 3  # attempts if the code is edited meanwhile
# not part of the code: runs have the complete content in their config.yaml
NO_CODE = ("sweeps", "configs", "slurm", "docs", "tests", "benchmarks")
# these point to another repository, for example inside a git hook
LOCAL_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


def snapshot(repository: Path, place: Path) -> Path:
    """Copy the code below `place` and return the folder; identical code is copied once.

    Raises:
        CallerError: more than 100 MB would be copied, or the code keeps changing.
    """
    for _ in range(MOST_COPIES):
        files = code_files(repository)
        _refuse_data(repository, files)
        _refuse_missing_packages(repository, files)
        digest = _digest(repository, files)
        folder = _folder_of(digest, place)
        if not folder.is_dir():
            with building_folder(folder) as building:
                _copy(repository, files, building)
        if _intact(folder, digest):
            for bytecode in folder.rglob(BYTECODE):  # Python would run it unchecked
                shutil.rmtree(bytecode, ignore_errors=True)
            return folder
    raise CallerError(f"{repository}: the code changed while being copied; try again")


def _refuse_missing_packages(repository: Path, files: Sequence[str]) -> None:
    """Raise a `CallerError` if a package of `fer` is ignored, as by a repository around this one.
    """
    packages = (repository / "fer").rglob("__init__.py")
    there = {str(path.relative_to(repository)) for path in packages}
    missing = sorted(there - {*files})
    if missing:
        raise CallerError(f"{repository}: git ignores or does not list {missing[0]}, so jobs would "
                          "run without it; change the rule in .gitignore, or run: git init "
                          f"{repository}")


def snapshot_folder(repository: Path, place: Path) -> Path:
    """Return the folder of the snapshot of the current code, existing or not."""
    return _folder_of(_digest(repository, code_files(repository)), place)


def import_folder(snapshot: Path) -> Path:
    """Return the folder that jobs running a snapshot have on `sys.path`.

    Not the snapshot itself, which may contain a user's `torch.py`.
    """
    return snapshot / IMPORTED


def code_files(repository: Path) -> list[str]:
    """Return the files of a snapshot, relative to the repository, sorted."""
    try:
        tracked = _git(repository, "ls-files", "-z").split("\0")
        others = _git(repository, "ls-files", "-o", "--exclude-standard", "-z").split("\0")
    except (OSError, subprocess.CalledProcessError):
        tracked = others = []
    # git lists nothing for a tarball unpacked inside another repository
    listed = [*tracked, *others] if any(tracked) else _walk(repository)
    return sorted({name for name in listed if name and not _added(name)
                   and (repository / name).is_file()})


def git_state(folder: Path) -> dict[str, Any]:
    """Return the commit and whether the code differs from it; nulls without git.

    A snapshot contains its commit. Files that are not code are ignored (`NO_CODE`).
    """
    if (folder / RECORD).is_file():
        return _recorded(folder / RECORD)
    try:
        if not _git(folder, "ls-files"):  # the code is inside another repository
            return {"commit": None, "dirty": None}
        others = [f":(exclude){name}" for name in NO_CODE]
        changes = _git(folder, "status", "--porcelain", "--", ".", *others)
        return {"commit": _git(folder, "rev-parse", "HEAD").strip(), "dirty": bool(changes.strip())}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


@dataclass(frozen=True)
class _Git:
    """What a snapshot says of its commit."""

    commit: str | None
    dirty: bool | None


def _recorded(file: Path) -> dict[str, Any]:
    """Return the commit in the record of a snapshot; nulls if it is damaged."""
    try:
        return asdict(record(_Git, read_object(file).get("git")))
    except (OSError, ValueError):
        return {"commit": None, "dirty": None}


def _folder_of(digest: str, place: Path) -> Path:
    """Return the first folder of that name that is intact or does not exist.

    A damaged or foreign folder is not touched: jobs may run in it.
    """
    folders = (place / f"code-{digest}{f'-{number}' if number else ''}" for number in count())
    return next(folder for folder in folders
                if not os.path.lexists(folder) or _intact(folder, digest))


def _intact(folder: Path, digest: str) -> bool:
    """Return whether a snapshot contains exactly the files of its digest and the added ones."""
    try:
        known = read_object(folder / RECORD)
        files = sorted(name for name in _all_files(folder) if not _added(name)
                       and f"/{BYTECODE}/" not in f"/{name}")
        link = import_folder(folder) / "fer"
        return (isinstance(known["git"], dict) and _digest(folder, files) == digest
                and not any((folder / name).is_symlink() for name in files)
                and os.listdir(link.parent) == ["fer"] and os.readlink(link) == "../fer")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _added(name: str) -> bool:
    """Return whether a file was added by the snapshot, and is not code."""
    return name in (RECORD, DIFF) or name.startswith(f"{IMPORTED}/")


def _all_files(folder: Path) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in files + links)


def _copy(repository: Path, files: list[str], building: Path) -> None:
    """Fill a snapshot; links are replaced by their targets, which may be edited later."""
    for name in files:
        target = building / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repository / name, target)
    import_folder(building).mkdir()
    (import_folder(building) / "fer").symlink_to("../fer")
    state = git_state(repository)
    if state["dirty"]:
        (building / DIFF).write_text(_diff(repository), "utf-8", "surrogateescape")
    write_json(building / RECORD, {"git": state, "files": len(files)})


def _diff(repository: Path) -> str:
    """Return the diff to the commit; a snapshot of a snapshot copies it."""
    if (repository / DIFF).is_file():
        return (repository / DIFF).read_text("utf-8", "surrogateescape")
    return _git(repository, "diff", "HEAD")


def _git(folder: Path, *arguments: str) -> str:
    own = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True,
                          env=own, encoding="utf-8", errors="surrogateescape").stdout


def _walk(repository: Path) -> Iterator[str]:
    """Yield the files not ignored by any `.gitignore`, as git applies them."""
    specs: dict[str, GitIgnoreSpec] = {}  # folder -> its .gitignore

    def ignored(name: str, slash: str = "") -> bool:
        """Return whether the last matching pattern ignores a name; the nearest folder decides."""
        parts = name.split("/")
        for depth in range(len(parts) - 1, -1, -1):
            folder = "/".join(parts[:depth])
            inside = "/".join(parts[depth:]) + slash
            if folder in specs and (found := specs[folder].check_file(inside)).include is not None:
                return bool(found.include)
        return False

    for place, folders, files in os.walk(repository):
        here = os.path.relpath(place, repository) if place != str(repository) else ""
        file = os.path.join(place, ".gitignore")
        if os.path.isfile(file):
            with open(file, encoding="utf-8-sig", errors="surrogateescape") as handle:
                specs[here] = GitIgnoreSpec.from_lines(handle.read().splitlines())
        folders[:] = [name for name in folders if name != ".git"
                      and not os.path.lexists(os.path.join(place, name, ".git"))  # another's
                      and not ignored(os.path.join(here, name), "/")]
        yield from (name for name in (os.path.join(here, file) for file in files if file != ".git")
                    if not ignored(name))


def _refuse_data(repository: Path, files: list[str]) -> None:
    sizes = {name: (repository / name).lstat().st_size for name in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise CallerError(f"{repository}: the code to copy has {sum(sizes.values()) / 1e6:.0f} MB, "
                          f"the largest file is {largest}; add data to .gitignore")


def _digest(repository: Path, files: list[str]) -> str:
    state = xxhash.xxh3_128()
    for name in files:
        content = (repository / name).read_bytes()
        state.update(os.fsencode(name) + f"\0{len(content)}\0".encode())
        state.update(content)
    return state.hexdigest()[:12]
