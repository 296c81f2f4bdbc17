"""Show how a study stands: one row a run."""

import json
from typing import Annotated

import typer

from fer.command import run


def status(
    study: Annotated[str, typer.Argument(help="Name of a study that was started, or its file.")],
    failed: Annotated[bool, typer.Option("--failed", help="Print each failure's traceback.")]
    = False,
    cancel: Annotated[str, typer.Option(help="Ask runs to stop, by state or name pattern.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """Print state, epoch, metric, restarts, heartbeat and time left of each run of a study.

    Exit code 0 when every run is done, 1 when not.
    """
    from rich.console import Console

    from fer.config.places import home
    from fer.errors import CallerError
    from fer.study import folder, table
    from fer.study.store import Store

    store, console = Store(home()), Console()
    found = folder.read_study(store, study)
    if cancel:
        chosen = table.matching(found, store, cancel)
        if not chosen:
            raise CallerError(f"no run of '{study}' has the state or name '{cancel}'")
        count = table.ask_to_stop(chosen, lambda name: console.print(name, soft_wrap=True))
        console.print(f"asked {count} runs to stop; launch/sweep.py --retry takes them up again")
        return
    rows = table.rows_of(found, store)
    if as_json:
        print(json.dumps(table.as_json(rows), indent=1))
    elif failed:
        table.print_failures(rows, console)
    else:
        table.print_rows(rows, console)
    raise typer.Exit(0 if all(row.state == "done" for row in rows) else 1)


if __name__ == "__main__":
    run(status)
