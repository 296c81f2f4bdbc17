"""Where things are on this machine: code, data, runs and caches. Read at every call, not at import,
so that a profile or a test may set the variables first."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def data_root() -> Path:
    """Return the folder of the data sets: `$FER_DATA`, else `data/` in the repository."""
    return Path(os.environ.get("FER_DATA") or REPOSITORY / "data").expanduser().absolute()


def home() -> Path:
    """Return the folder that holds `runs/` and `studies/`: `$FER_HOME`, else the repository."""
    return Path(os.environ.get("FER_HOME") or REPOSITORY).expanduser().absolute()


def cache() -> Path:
    """Return the folder of packs, weights and digests: `$FER_CACHE`, else `~/.cache/fer`."""
    return Path(os.environ.get("FER_CACHE") or "~/.cache/fer").expanduser().absolute()


def scratch() -> Path | None:
    """Return the folder on a node's own disk for copies of packs: `$FER_SCRATCH`, else None."""
    named = os.environ.get("FER_SCRATCH")
    return Path(named).expanduser().absolute() if named else None
