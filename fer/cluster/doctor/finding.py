"""One line of the doctor: what was looked at, how it is, and what mends it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "failure"]
MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "red")}


@dataclass(frozen=True)
class Finding:
    """What was found.

    Attributes:
        level: `failure` where a study cannot work, `warning` where it works but worse.
        what: what was looked at.
        found: how it is.
        mend: a command or a change that mends it; empty where nothing has to be.
    """

    level: Level
    what: str
    found: str
    mend: str = ""


def ok(what: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding("ok", what, found)


def warning(what: str, found: str, mend: str) -> Finding:
    """Return a finding that makes things worse."""
    return Finding("warning", what, found, mend)


def failure(what: str, found: str, mend: str) -> Finding:
    """Return a finding that keeps a study from working."""
    return Finding("failure", what, found, mend)


def print_findings(findings: Iterable[Finding]) -> bool:
    """Print a line a finding as it comes, and say whether none is a failure."""
    from rich.console import Console
    from rich.text import Text

    console, good = Console(), True
    for one in findings:
        mark, colour = MARKS[one.level]
        line = Text.assemble((f"{mark} {one.level:8}", colour), f"{one.what}: {one.found}")
        console.print(line, soft_wrap=True)
        if one.mend:
            console.print(Text(f"           → {one.mend}"), soft_wrap=True)
        good &= one.level != "failure"
    return good
