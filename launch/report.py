"""Rebuild a study's tables, figures and page from what is on disk."""

from typing import Annotated

import typer

from fer.cli import run


def report(
    study: Annotated[list[str], typer.Argument(
        metavar="STUDY...", help="Name of a study that was started, or its file; several are "
        "compared in one report.")],
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA hold.")] = "",
    name: Annotated[str, typer.Option(
        "--as", help="Name of the report on several studies; else A-and-B.")] = "",
    attention: Annotated[bool, typer.Option(
        "--attention", help="Draw first where the best models look (Grad-CAM).")] = False,
    after_jobs: Annotated[bool, typer.Option("--after-jobs", hidden=True)] = False,
) -> None:
    """Write studies/STUDY/report from the runs that are there, and print the summary.

    Exit code 0 when every run is in it, 1 when some are missing (the report says which).
    """
    from rich.console import Console

    from fer.cluster.profile import use_places_of
    from fer.config.paths import home
    from fer.errors import CallerError
    from fer.report.study_report import report_study
    from fer.study.run_folder import Store
    from fer.study.study_folder import read_study

    use_places_of(cluster)
    store = Store(home())
    if name and len(study) == 1:
        raise CallerError("--as names a report on several studies; one study's report has its name")
    if attention:
        from fer.study.grad_cam_runs import draw_in_process

        for one in study:
            if line := draw_in_process(read_study(store, one), store):
                print(line)
    if len(study) > 1:
        from fer.report.multi_study import report_studies

        complete = report_studies([read_study(store, one) for one in study], name, store, Console())
        raise typer.Exit(0 if complete else 1)
    found = read_study(store, study[0])
    if after_jobs:  # called by the last job of a study on SLURM
        found.record_ends()
        from fer.study.grad_cam_runs import draw_in_process

        if line := draw_in_process(found, store):
            print(line)
    complete = report_study(found, store, Console())
    raise typer.Exit(0 if complete else 1)


if __name__ == "__main__":
    run(report)
