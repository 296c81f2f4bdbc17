"""The state of a study or a search: one row per run or trial."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from fer.cli import run


def status(
    study: Annotated[str, typer.Argument(
        help="Name of a started study or search, or its file; empty for all.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Print tracebacks and ends of logs.")]
    = False,
    cancel: Annotated[str, typer.Option(help="Stop runs, by state or name pattern.")] = "",
    retry: Annotated[str, typer.Option(help="Retry runs, by state or name pattern.")] = "",
    log: Annotated[str, typer.Option(help="Print the logs of a run, by name pattern.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation for many runs.")]
    = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh the table every few seconds.")]
    = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA apply.")] = "",
) -> None:
    """Print state, epoch, metric, restarts, heartbeat and time left of each run of a study.

    For a search: score and parameters of each trial, best first. Without a name: every study and
    search here, with the hours spent, and jobs that belong to none.

    States come from the runs' files, squeue and sacct; accounting is optional. Exit code 1 when a
    run failed, was lost or cancelled, or is blocked by one that was; else 0.
    """
    from fer.commands.status import print_overview, status_of

    if not study:
        print_overview(cluster, as_json)
        raise typer.Exit(0)
    standing = status_of(study, cluster)
    if cancel:
        standing.cancel(cancel, yes)
        raise typer.Exit(0)
    if retry:
        raise typer.Exit(standing.retry(retry, yes))
    if log:
        standing.print_log(log)
        raise typer.Exit(0)
    if as_json:
        print(json.dumps([asdict(row) for row in standing.rows], indent=1))
    elif failed:
        standing.print_failures()
    elif watch:
        standing.watch()
    else:
        standing.print()
    raise typer.Exit(0 if standing.all_well else 1)


if __name__ == "__main__":
    run(status)
