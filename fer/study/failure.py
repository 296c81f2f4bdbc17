"""Failure of a run with several ranks: recorded by the first rank that raises, published once.

The other ranks fail too, because their collectives break, but that is not the cause. Not for
deciding whether to restart (`fer.cluster.requeue`).
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fer.study.job_environment import identity_of_process
from fer.study.run_folder import RunFolder
from fer.untrusted_io import parse_json, read_bytes

HUNG = 76  # exit code of a process that a watchdog ended
MAX_HANGS = 2


def publish_failure(folder: RunFolder, error: str, trace: str = "") -> None:
    """Write to `status.json` that the run failed, and why."""
    folder.write_status(replace(folder.status(), state="failed", error=error, traceback=trace,
                                heartbeat=time.time()))


def keep_failure(folder: RunFolder, error: str, trace: str) -> None:
    """Record the error of a rank, unless another rank of this start was first."""
    path = _file(folder)
    path.parent.mkdir(exist_ok=True)
    if (present := _read(path)) is not None and present["job"] != _job():
        path.unlink(missing_ok=True)  # of an earlier job with the same number
    with suppress(FileExistsError), open(path, "x", encoding="utf-8") as handle:
        json.dump({"error": error, "traceback": trace, "job": _job()}, handle)


def kept_failure(folder: RunFolder) -> tuple[str, str] | None:
    """Return error and traceback recorded by a rank of this start; None if there are none."""
    kept = _read(_file(folder))
    return None if kept is None or kept["job"] != _job() else (kept["error"], kept["traceback"])


def mark_hung(folder: RunFolder, why: str) -> None:
    """Record that this start of the run hangs, for its other ranks and for who restarts it."""
    path = _hang_file(folder)
    path.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError), open(path, "x", encoding="utf-8") as handle:
        handle.write(f"{why}\n")


def marked_hung(folder: RunFolder) -> bool:
    """Return whether a rank of this start hangs."""
    return _hang_file(folder).exists()


def hangs(folder: RunFolder) -> list[str]:
    """Return how each start since the last `--retry` hung."""
    return [path.read_text(encoding="utf-8").strip()
            for path in sorted(folder.path.glob("logs/hung-*.txt"))]


def _hang_file(folder: RunFolder) -> Path:
    return folder.path / "logs" / f"hung-{os.environ.get('FER_START', 'alone')}.txt"


def _read(path: Path) -> dict[str, str] | None:
    """Return the content of a file; None if it is missing or being written."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = parse_json(read_bytes(path))
        return {"error": content["error"], "traceback": content["traceback"],
                "job": content.get("job", "")}
    return None


def _job() -> str:
    """Return what distinguishes the job of this process from others with its number."""
    known = identity_of_process()
    return f"{known.cluster} {known.comment}".strip()


def _file(folder: RunFolder) -> Path:
    """Return the file for this start: one job may start a run several times."""
    return folder.path / "logs" / f"failure-{os.environ.get('FER_START', 'alone')}.json"
