"""Locations on this machine: code, data, runs and caches.

Environment variables are read at every call, so a profile or a test may set them first.
"""

import os
from pathlib import Path

from fer.errors import CallerError

LONGEST_PART, LONGEST_PATH = 255, 3000  # bytes; Linux allows 4095, with the folders above it
REPOSITORY = Path(__file__).resolve().parents[2]


def data_root() -> Path:
    """Return the folder of the data sets: `$FER_DATA`, else `data/` in the repository."""
    return _absolute("FER_DATA", REPOSITORY / "data")


def home() -> Path:
    """Return the folder that holds `runs/` and `studies/`: `$FER_HOME`, else the repository."""
    return _absolute("FER_HOME", REPOSITORY)


def cache() -> Path:
    """Return the folder of packs, weights and digests: `$FER_CACHE`, else `~/.cache/fer`."""
    return _absolute("FER_CACHE", Path("~/.cache/fer"))


def scratch() -> Path | None:
    """Return the node-local folder for copies of packs: `$FER_SCRATCH`, else None."""
    return _absolute("FER_SCRATCH", Path()) if os.environ.get("FER_SCRATCH") else None


def _absolute(variable: str, otherwise: Path) -> Path:
    try:
        return Path(os.environ.get(variable) or otherwise).expanduser().absolute()
    except RuntimeError:
        raise CallerError(f"{variable}: '~' has no meaning for a user without a home directory; "
                          f"set {variable} to a folder") from None


def path_problem(text: str) -> str:
    """Return why no file can have this path, which a configuration or a store names; else ''."""
    try:
        parts = [os.fsencode(part) for part in text.split("/")]
    except UnicodeEncodeError:
        return "no file can have this name: it is not Unicode text"
    if "\0" in text:
        return "no file can have this name: it has a NUL character"
    longest = max(map(len, parts))
    if longest > LONGEST_PART or len(os.fsencode(text)) > LONGEST_PATH:
        return f"no file can have this name: it is too long ({len(text)} characters)"
    return ""


def refuse_copied_code() -> None:
    """Raise a `CallerError` if this package was installed without the files beside it."""
    if not (REPOSITORY / "launch").is_dir():  # a snapshot has it too
        raise CallerError(f"{REPOSITORY}: fer was installed without configs/ and sweeps/; in the "
                          "repository, run: pip install --editable .")
