"""The results of a study as a table in the terminal, for 80 columns or more."""

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fer.report.build_report import ReportSummary
from fer.report.formatting import count
from fer.report.summary import DRAWINGS
from fer.report.view_model import ViewModel

MOST_ROWS = 40  # configurations
WIDE = 110  # columns needed for value and interval on one line


def print_summary(summary: ReportSummary, console: Console | None = None) -> None:
    """Print the result table, the summary and the path of the page."""
    console, view = console or Console(), summary.said
    console.print()
    if view.rows:
        console.print(_table(view, console.width >= WIDE))
    text = Text(view.summary.main, style="bold")
    if view.summary.sizes:
        text.append(f"\n{view.summary.sizes}", style="not bold dim")
    for line in view.summary.others:
        text.append(f"\n{line}", style="not bold")
    console.print(Panel(text, box=box.ROUNDED, border_style="cyan"))
    for line in view.summary.caveats:
        console.print(Text(line, style="dim"))
    if view.drawn:
        console.print(Text(DRAWINGS, style="bold yellow"))
    if view.partial:
        console.print(Text(f"partial: {view.done} of {count(len(view.runs), 'run')} done "
                           f"({view.states})", style="yellow"))
    if view.problems:
        console.print(Text(f"{count(len(view.problems), 'warning')} in the report",
                           style="yellow"))
    console.print(Text(f"report: {summary.page}"), soft_wrap=True)


def _table(view: ViewModel, wide: bool) -> Table:
    """Return a table of configurations x test sets; if narrow, intervals are below the values."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0),
                  title=f"study {view.study}: unweighted average recall (UAR), 95 % intervals",
                  title_justify="left", title_style="bold", show_lines=False)
    table.add_column("configuration", overflow="fold")
    for one in view.sets:
        table.add_column(f"{one.split}\nn = {one.n:,}", justify="right", no_wrap=True)
    if view.has_gap:
        table.add_column("gap\npoints", justify="right", no_wrap=True, style="bold")
    table.add_column("seeds", justify="right", no_wrap=True)
    shown = view.rows
    if len(shown) > MOST_ROWS:
        shown = tuple(sorted(shown, key=lambda row: -row.rank)[:MOST_ROWS])
        table.caption = (f"{MOST_ROWS} of {len(view.rows):,} configurations, the highest on "
                         f"{view.judged_on}; summary.csv has all")
        table.caption_justify = "left"
    for row in shown:
        values = [*row.scores, *([row.gap] if view.has_gap else [])]
        if not wide:
            values = [value.replace(" [", "\n[", 1) for value in values]
        table.add_row(_name(row.config.label, wide), *values, row.seeds)
    return table


def _name(label: str, wide: bool) -> Text:
    parts = label.split(" · ")
    return Text(label if wide else parts[0] + "\n" + " · ".join(parts[1:]))
