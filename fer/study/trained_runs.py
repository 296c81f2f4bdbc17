"""Trained runs by the names that users give them: a path, a name, an id or a pattern."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from fer.errors import CallerError, choices
from fer.study.run_folder import RunFolder, Store

MOST_NAMED = 20


def find_runs(store: Store, names: Sequence[str]) -> list[RunFolder]:
    """Return the trained runs selected by path, name, id or pattern.

    Raises:
        CallerError: a name matches no trained run.
    """
    trained = [folder for folder in store if folder.trained]
    found: dict[Path, RunFolder] = {}
    for name in names:
        path = Path(name)
        here = [RunFolder(path.absolute())] if (path / "train.json").is_file() else []
        fits = here or [f for f in trained if f.run_id == name or fnmatch(f.name, name)]
        if not fits:
            some = choices(folder.name for folder in trained[:MOST_NAMED])
            raise CallerError(f"no trained run '{name}' in {store.runs}; there are: "
                              f"{some or 'none'}")
        found.update({folder.path: folder for folder in fits})
    return list(found.values())
