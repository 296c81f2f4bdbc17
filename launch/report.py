"""Rebuild a study's tables, figures and page from what is on disk."""

from typing import Annotated

import typer

from fer.command import run


def report(
    study: Annotated[str, typer.Argument(help="Name of a study that was started, or its file.")],
) -> None:
    """Write studies/STUDY/report from the runs that are there, and print the summary.

    Exit code 0 when every run is in it, 1 when some are missing (the report says which).
    """
    from rich.console import Console

    from fer.config.places import home
    from fer.report.study import report_study
    from fer.study.folder import read_study
    from fer.study.store import Store

    store = Store(home())
    complete = report_study(read_study(store, study), store, Console())
    raise typer.Exit(0 if complete else 1)


if __name__ == "__main__":
    run(report)
