"""Learning curves of runs, from their `metrics.jsonl`: for figures only."""

import json
from dataclasses import dataclass

from fer.report.read.load import ReportRun
from fer.report.read.report_cache import Memory


@dataclass(frozen=True)
class Curve:
    """Validation UAR by epoch of one run; `phases` is the phase of each point."""

    run: ReportRun
    epochs: tuple[float, ...]
    val_uar: tuple[float, ...]
    phases: tuple[str, ...]


def read_curve(run: ReportRun, memory: Memory) -> Curve | None:
    """Return the learning curve of `run`; None where there is none.

    The file is append-only and may be cut in a line by a kill: such a line is left out.
    """
    try:
        text = memory.text(f"{run.folder}/metrics.jsonl")
    except OSError:
        return None
    lines = (text or "").splitlines()
    points: dict[int, tuple[float, str]] = {}
    for line in lines:
        try:
            point = json.loads(line)
            points[int(point["epoch"])] = float(point["val_uar"]), str(point.get("phase", ""))
        except (ValueError, KeyError, TypeError, OverflowError):
            continue
    if not points:
        return None
    epochs = sorted(points)
    return Curve(run, tuple(map(float, epochs)), tuple(points[epoch][0] for epoch in epochs),
                 tuple(points[epoch][1] for epoch in epochs))
