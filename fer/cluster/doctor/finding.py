"""One result of the doctor: what was checked, its state, and the fix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]
MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        level: `failure` if a study cannot run, `warning` if it runs less well.
        what: the item that was checked.
        found: its state.
        mend: a command or change that fixes it; empty if none is needed.
    """

    level: Level
    what: str
    found: str
    mend: str = ""


def ok(what: str, found: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding("ok", what, found)


def warning(what: str, found: str, mend: str) -> Finding:
    """Return a finding with which a study runs less well."""
    return Finding("warning", what, found, mend)


def failure(what: str, found: str, mend: str) -> Finding:
    """Return a finding that prevents a study from running."""
    return Finding("failure", what, found, mend)


def print_findings(findings: Iterable[Finding]) -> bool:
    """Print each finding as it arrives; return whether none is a failure."""
    from rich.text import Text

    from fer.console import Terminal

    console, good = Terminal(), True
    for one in findings:
        mark, colour = MARKS[one.level]
        line = Text.assemble((f"{mark} {one.level:8}", colour), f"{one.what}: {one.found}")
        console.print(line, soft_wrap=True)
        if one.mend:
            console.print(Text(f"           → {one.mend}"), soft_wrap=True)
        good &= one.level != "failure"
    return good
