"""The results of a study as a table in the terminal, for 80 columns or more."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fer.console import Terminal
from fer.report.build_report import ReportSummary
from fer.report.formatting import count
from fer.report.gaps import REAL
from fer.report.view_model import ViewModel

MOST_ROWS = 40  # configurations
WIDE = 110  # columns needed for value and interval on one line
NAME = 24  # columns for the names of configurations


def print_summary(summary: ReportSummary, console: Console | None = None) -> None:
    """Print the result table, the summary and the path of the page."""
    console, view = console or Terminal(), summary.said
    console.print()
    if view.rows:
        console.print(_table(view, console.width))
    text = Text(view.summary.main, style="bold")
    if view.summary.sizes:
        text.append(f"\n{view.summary.sizes}", style="not bold dim")
    if view.summary.status:
        text.append(f"\n{'; '.join(view.summary.status)}", style="not bold dim")
    for line in view.summary.others:
        text.append(f"\n{line}", style="not bold")
    console.print(Panel(text, box=box.ROUNDED, border_style="cyan"))
    for line in view.summary.caveats:
        console.print(Text(line, style="dim"))
    if view.drawn:
        console.print(Text(view.drawn, style="bold yellow"))
    if view.partial:
        console.print(Text(f"partial: {view.done} of {count(len(view.runs), 'run')} done "
                           f"({view.states})", style="yellow"))
    if view.problems:
        console.print(Text(f"{count(len(view.problems), 'warning')} in the report",
                           style="yellow"))
    console.print(Text(f"report: {summary.page}"), soft_wrap=True)


def _table(view: ViewModel, width: int) -> Table:
    """Return a table of configurations x test sets; if narrow, intervals are below the values.

    Test sets that would leave no room for the names are left out and named below: first those of
    no gap, then further real sets, those of the gap in the table last.
    """
    wide, kept = _fitting(view, width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0),
                  title=f"study {view.study}: unweighted average recall (UAR), 95 % intervals",
                  title_justify="left", title_style="bold", show_lines=False)
    table.add_column("configuration", overflow="fold")
    for place in kept:
        one = view.sets[place]
        table.add_column(f"{one.split}\nn = {one.n:,}", justify="right", no_wrap=True)
    if view.has_gap:
        table.add_column("gap\npoints", justify="right", no_wrap=True, style="bold")
    table.add_column("seeds", justify="right", no_wrap=True)
    shown, notes = view.rows, list[str]()
    if len(shown) > MOST_ROWS:
        shown = tuple(sorted(shown, key=lambda row: -row.rank)[:MOST_ROWS])
        notes.append(f"{MOST_ROWS} of {len(view.rows):,} configurations, the highest on "
                     f"{view.judged_on}; summary.csv has all")
    if len(kept) < len(view.sets):
        left = [one.split for place, one in enumerate(view.sets) if place not in kept]
        notes.append(f"no room for {', '.join(left)}; summary.csv has all")
    table.caption, table.caption_justify = "\n".join(notes) or None, "left"
    for row in shown:
        values = [*(row.scores[place] for place in kept), *([row.gap] if view.has_gap else [])]
        if not wide:
            values = [value.replace(" [", "\n[", 1) for value in values]
        table.add_row(_name(row.config.label, wide), *values, row.seeds)
    return table


def _fitting(view: ViewModel, width: int) -> tuple[bool, list[int]]:
    """Return whether a value and its interval fit on one line, and the test sets with room."""
    kept = list(range(len(view.sets)))
    if width >= WIDE and _room(view, kept, width, True) >= NAME:
        return True, kept
    further = [one.split != view.judged_on and one.name == REAL for one in view.sets]
    in_gap = [one.role != one.split for one in view.sets]
    while len(kept) > 1 and _room(view, kept, width, False) < NAME:
        kept.remove(min(kept, key=lambda place: (
            in_gap[place], not further[place], -place if further[place] else place)))
    return False, kept


def _room(view: ViewModel, kept: Sequence[int], width: int, wide: bool) -> int:
    """Return the columns left for the names."""
    def size(values: Sequence[str], *heads: str) -> int:
        cells = [*values] if wide else [part for value in values for part in value.split(" [", 1)]
        return max(map(len, (*heads, *cells))) + (2 if wide else 1)

    used = sum(size([row.scores[place] for row in view.rows], view.sets[place].split,
                    f"n = {view.sets[place].n:,}") for place in kept)
    if view.has_gap:
        used += size([row.gap for row in view.rows], "points")
    return width - used - len("seeds") - 2


def _name(label: str, wide: bool) -> Text:
    parts = label.split(" · ")
    return Text(label if wide else parts[0] + "\n" + " · ".join(parts[1:]))
