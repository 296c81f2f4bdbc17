"""The failure of a run with several ranks: kept by the rank that raises first, published once.

The other ranks fail too, because their collectives break, but that is not the cause. Not for
deciding whether to start again (`fer.cluster.requeue`).
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fer.study.run_folder import RunFolder
from fer.study.slurm_jobs import identity_of_process


def publish_failure(folder: RunFolder, error: str, trace: str = "") -> None:
    """Say in `status.json` that the run failed, and why."""
    folder.write_status(replace(folder.status(), state="failed", error=error, traceback=trace,
                                heartbeat=time.time()))


def keep_failure(folder: RunFolder, error: str, trace: str) -> None:
    """Keep the error of a rank, unless another rank of this start was first."""
    path = _file(folder)
    path.parent.mkdir(exist_ok=True)
    if (there := _read(path)) is not None and there["job"] != _job():
        path.unlink(missing_ok=True)  # of a job that had our number before
    with suppress(FileExistsError), open(path, "x", encoding="utf-8") as handle:
        json.dump({"error": error, "traceback": trace, "job": _job()}, handle)


def kept_failure(folder: RunFolder) -> tuple[str, str] | None:
    """Return error and traceback that a rank of this start kept; None where none did."""
    there = _read(_file(folder))
    return None if there is None or there["job"] != _job() else (there["error"], there["traceback"])


def _read(path: Path) -> dict[str, str] | None:
    """Return what a file holds; None where there is none, or a rank is just writing it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"error": content["error"], "traceback": content["traceback"],
                "job": content.get("job", "")}
    return None


def _job() -> str:
    """Return what tells the job of this process from others of its number."""
    known = identity_of_process()
    return f"{known.cluster} {known.comment}".strip()


def _file(folder: RunFolder) -> Path:
    """Return the file of this start: one job may start a run several times."""
    return folder.path / "logs" / f"failure-{os.environ.get('FER_START', 'alone')}.json"
