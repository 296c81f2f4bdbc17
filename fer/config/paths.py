"""Locations on this machine: code, data, runs and caches.

Environment variables are read at every call, so a profile or a test may set them first.
"""

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
    """Return the node-local folder for copies of packs: `$FER_SCRATCH`, else None."""
    named = os.environ.get("FER_SCRATCH")
    return Path(named).expanduser().absolute() if named else None
