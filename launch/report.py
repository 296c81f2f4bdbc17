"""Rebuild a study's tables, figures and page from what is on disk."""

from typing import Annotated

import typer

from fer.command import run


def report(
    study: Annotated[str, typer.Argument(help="Name of a study that was started, or its file.")],
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA hold.")] = "",
    after_jobs: Annotated[bool, typer.Option("--after-jobs", hidden=True)] = False,
) -> None:
    """Write studies/STUDY/report from the runs that are there, and print the summary.

    Exit code 0 when every run is in it, 1 when some are missing (the report says which).
    """
    from rich.console import Console

    from fer.cluster.profile import use_places_of
    from fer.config.places import home
    from fer.report.study import report_study
    from fer.study.folder import read_study
    from fer.study.store import Store

    use_places_of(cluster)
    store = Store(home())
    found = read_study(store, study)
    if after_jobs:  # called by the last job of a study on SLURM
        found.record_ends()
    complete = report_study(found, store, Console())
    raise typer.Exit(0 if complete else 1)


if __name__ == "__main__":
    run(report)
