"""Errors of failed runs, each said once with the runs that have it."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.report.read.run_files import ReportRun

MOST_NAMED = 12  # runs of one error

Linked = tuple[ReportRun, str]  # a run and the link to its folder


@dataclass(frozen=True)
class Failure:
    """One error: the first of the runs that have it, and how many more have."""

    error: str
    runs: tuple[Linked, ...]
    more: int


def failures(runs: Sequence[Linked]) -> tuple[Failure, ...]:
    """Return the errors of `runs`, that of the most runs first."""
    found: dict[str, list[Linked]] = {}
    for run, link in runs:
        if run.error:
            found.setdefault(run.error, []).append((run, link))
    return tuple(Failure(error, tuple(having[:MOST_NAMED]), max(0, len(having) - MOST_NAMED))
                 for error, having in sorted(found.items(), key=lambda one: -len(one[1])))
