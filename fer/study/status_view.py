"""The status table as lines of plain text, fast even for ten thousand runs."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from fer.errors import plural
from fer.plain_text import one_line, without_controls
from fer.study.run_records import State
from fer.study.status import Row
from fer.untrusted_io import read_bytes

COLOURS: dict[State, int] = {"done": 32, "failed": 31, "lost": 31, "blocked": 31, "running": 36,
                             "cancelled": 33, "requeued": 33, "preempted": 33, "orphaned": 33,
                             "starting": 36, "suspended": 33}
HEADS = ("run", "state", "epoch", "step", "val", "restarts", "heard", "left", "job", "owner",
         "node")
LEFT = ("run", "state", "job", "owner", "node")  # the others are numbers, right-aligned
DROPPED = ("node", "job", "step", "restarts")  # on a narrow screen, in this order
LEAST_NAME = 30
URGENT: tuple[State, ...] = ("requeued", "lost", "blocked", "preempted", "suspended")
LOG_LINES = 20


def table_lines(rows: Sequence[Row], width: int | None, colour: bool) -> list[str]:
    """Return the lines of the table, header first.

    Args:
        width: screen width in characters; None for lines of any length.
        colour: whether to colour states.
    """
    cells = [dict(zip(HEADS, HEADS, strict=True)), *(_cells(row) for row in rows)]
    widths = {head: max(len(line[head]) for line in cells) for head in HEADS}
    shown = [head for head in HEADS if head == "run" or any(line[head] for line in cells[1:])]
    if width is not None:
        _fit(widths, shown, width)
    lines: list[str] = []
    for number, line in enumerate(cells):
        parts = [_pad(line[head], widths[head], head) for head in shown]
        if colour and number:
            place = shown.index("state")
            code = COLOURS.get(rows[number - 1].state)
            parts[place] = f"\033[{code}m{parts[place]}\033[0m" if code else parts[place]
        note = rows[number - 1].note if number else "note" if any(row.note for row in rows) else ""
        lines += _with_note("  ".join(parts), note, widths, shown, width,
                            urgent=number > 0 and rows[number - 1].state in URGENT)
    return lines


def _with_note(line: str, note: str, widths: dict[str, int], shown: list[str],
               width: int | None, urgent: bool) -> list[str]:
    """Return a line with its note; an urgent note that does not fit goes on the next line."""
    room = None if width is None else width - sum(widths[head] + 2 for head in shown)
    if room is None or len(note) <= room:
        return [f"{line}  {note}".rstrip()]
    if urgent:
        return [line.rstrip(), f"    {note}"[:width]]
    return [f"{line}  {note[: room - 1]}…" if room >= 8 else line.rstrip()]


def _fit(widths: dict[str, int], shown: list[str], width: int) -> None:
    """Drop columns and shorten names until a line fits."""
    def total() -> int:
        return sum(widths[head] + 2 for head in shown) - 2

    for head in DROPPED:
        room = width - (total() - widths["run"])
        if room >= min(widths["run"], LEAST_NAME):
            break
        if head in shown:
            shown.remove(head)
    widths["run"] = max(min(widths["run"], width - (total() - widths["run"])), 12)


def _pad(text: str, width: int, head: str) -> str:
    if len(text) > width:
        # a name starts with the backbone and ends with seed and run id
        text = f"{text[: width - width // 2 - 1]}…{text[-(width // 2):]}" if head == "run" else (
            f"{text[: width - 1]}…")
    return text.ljust(width) if head in LEFT else text.rjust(width)


def _cells(row: Row) -> dict[str, str]:
    return {
        "run": row.run, "state": row.state, "epoch": _part(row.epoch, row.epochs),
        "step": _part(row.step, row.steps),
        "val": "" if row.metric is None else f"{row.metric:.3f}",
        "restarts": str(row.restarts or ""), "heard": _heartbeat(row),
        "left": span(row.time_left), "job": one_line(row.job_id), "owner": one_line(row.owner),
        "node": one_line(row.node)}


def _heartbeat(row: Row) -> str:
    """Return the age of the last heartbeat; `?` if clocks disagree."""
    return "?" if row.state == "running" and row.heartbeat_age is None else span(row.heartbeat_age)


def _part(done: int, total: int) -> str:
    return f"{done}/{total}" if total else ""


def span(seconds: float | None) -> str:
    """Return seconds as `h:mm:ss` or `m:ss`."""
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counts(rows: Iterable[Row]) -> str:
    """Return the number of runs in each state, as one line."""
    by_state = Counter(row.state for row in rows)
    listed = ", ".join(f"{number} {state}" for state, number in sorted(by_state.items()))
    return f"{plural(sum(by_state.values()), 'run')}: {listed}"


def print_rows(rows: Sequence[Row], width: int | None) -> None:
    """Print the table and the counts."""
    lines = [*table_lines(rows, width, sys.stdout.isatty()), counts(rows)]
    sys.stdout.write("\n".join(lines) + "\n")


def print_failures(rows: Iterable[Row]) -> None:
    """Print each failed run with its error, traceback and the end of its log."""
    for row in rows:
        if row.state not in ("failed", "lost", "blocked"):
            continue
        print(f"── {row.state}: {row.run}")
        print(without_controls(row.error or row.note or "no error message"))
        if row.traceback:
            print(without_controls(row.traceback.rstrip()))
        if row.log and (tail := log_tail(Path(row.log))):
            print(f"end of {row.log}:\n{tail}")
        print()


def log_tail(log: Path) -> str:
    """Return the last lines of a job's log, without terminal control sequences."""
    return "\n".join(f"  {line}" for line in log_text(log).splitlines()[-LOG_LINES:])


def log_text(log: Path) -> str:
    """Return a log without terminal control sequences; empty if it cannot be read."""
    try:
        text = read_bytes(log).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""
    return without_controls(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n"))
