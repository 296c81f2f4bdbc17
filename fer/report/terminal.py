"""The result of a study as a table in the terminal, in 80 columns as in 120."""

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
WIDE = 110  # columns from which value and interval fit on one line


def print_summary(summary: ReportSummary, console: Console | None = None) -> None:
    """Print the result table, the answer and the path of the page."""
    console, said = console or Console(), summary.said
    console.print()
    if said.rows:
        console.print(_table(said, console.width >= WIDE))
    text = Text(said.summary.main, style="bold")
    if said.summary.sizes:
        text.append(f"\n{said.summary.sizes}", style="not bold dim")
    for line in said.summary.others:
        text.append(f"\n{line}", style="not bold")
    console.print(Panel(text, box=box.ROUNDED, border_style="cyan"))
    for line in said.summary.caveats:
        console.print(Text(line, style="dim"))
    if said.drawn:
        console.print(Text(DRAWINGS, style="bold yellow"))
    if said.partial:
        console.print(Text(f"partial: {said.done} of {count(len(said.runs), 'run')} done "
                           f"({said.states})", style="yellow"))
    if said.problems:
        console.print(Text(f"{count(len(said.problems), 'thing')} to note, in the report",
                           style="yellow"))
    console.print(Text(f"report: {summary.page}"), soft_wrap=True)


def _table(said: ViewModel, wide: bool) -> Table:
    """Return configurations x test sets; intervals below the values where it is narrow."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1 if wide else 0),
                  title=f"study {said.study}: UAR with 95 % intervals", title_justify="left",
                  title_style="bold", show_lines=False)
    table.add_column("configuration", overflow="fold")
    for one in said.sets:
        table.add_column(f"{one.split}\nn = {one.n:,}", justify="right", no_wrap=True)
    if said.has_gap:
        table.add_column("gap\npoints", justify="right", no_wrap=True, style="bold")
    table.add_column("seeds", justify="right", no_wrap=True)
    shown = said.rows
    if len(shown) > MOST_ROWS:
        shown = tuple(sorted(shown, key=lambda row: -row.rank)[:MOST_ROWS])
        table.caption = (f"{MOST_ROWS} of {len(said.rows):,} configurations, the highest on "
                         f"{said.judged_on}; summary.csv has all")
        table.caption_justify = "left"
    for row in shown:
        values = [*row.scores, *([row.gap] if said.has_gap else [])]
        if not wide:
            values = [value.replace(" [", "\n[", 1) for value in values]
        table.add_row(_name(row.config.label, wide), *values, row.seeds)
    return table


def _name(label: str, wide: bool) -> Text:
    parts = label.split(" · ")
    return Text(label if wide else parts[0] + "\n" + " · ".join(parts[1:]))
