"""The report of a study: tables, figures and page, rebuilt from the files on disk."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from fer.cli import run


def report(
    study: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="STUDY...", help="Name of a started study, or its file; several are compared in "
        "one report.")] = None,
    cluster: Annotated[str, typer.Option(help="Profile whose FER_HOME and FER_DATA apply.")] = "",
    name: Annotated[str, typer.Option(
        "--as", help="Name of the report on several studies. Default: A-and-B.")] = "",
    attention: Annotated[bool, typer.Option(
        "--attention", help="Compute Grad-CAM of the best models first.")] = False,
    bundle: Annotated[Optional[Path], typer.Option(  # noqa: UP045
        metavar="FILE", help="Write the study, its configurations, predictions, tables and "
        "environment into one ZIP file too.")] = None,
    compare: Annotated[Optional[Path], typer.Option(  # noqa: UP045
        metavar="FILE", help="Compare the runs of a bundle with the runs of the same ids here; "
        "without STUDY.")] = None,
    after_jobs: Annotated[bool, typer.Option("--after-jobs", hidden=True)] = False,
) -> None:
    """Write studies/STUDY/report from the existing runs, and print the summary.

    Exit code 0 when every run is in it, 1 when some are missing (the report lists them), or, with
    --compare, when a run is outside its interval or missing.
    """
    from rich.console import Console

    from fer.cluster.profile_files import use_places_of
    from fer.config.paths import home
    from fer.errors import CallerError
    from fer.report.study_report import report_study
    from fer.study.run_folder import Store
    from fer.study.study_folder import read_study

    use_places_of(cluster)
    store = Store(home())
    if compare is not None:
        if study or bundle is not None or name or attention:
            raise CallerError("--compare FILE: takes no STUDY and no other option but --cluster; "
                              "the bundle names its runs")
        from fer.report.bundle.compare_bundle import report_comparison

        raise typer.Exit(0 if report_comparison(compare, store, Console()) else 1)
    if not study:
        raise CallerError("name a study, or a bundle with --compare FILE")
    if bundle is not None and len(study) > 1:
        raise CallerError("--bundle FILE: takes one STUDY, not several")
    if name and len(study) == 1:
        raise CallerError("--as requires several studies; the report on one study has its name")
    if attention:
        from fer.study.grad_cam_runs import draw_in_process

        for one in study:
            if line := draw_in_process(read_study(store, one), store):
                print(line)
    if len(study) > 1:
        from fer.report.multi_study import report_studies

        complete = report_studies([read_study(store, one) for one in study], name, store, Console())
        raise typer.Exit(0 if complete else 1)
    opened = read_study(store, study[0])
    if after_jobs:  # called by the last job of a study on SLURM
        opened.record_ends()
        from fer.study.grad_cam_runs import draw_in_process

        if line := draw_in_process(opened, store):
            print(line)
    complete = report_study(opened, store, Console())
    if bundle is not None:
        from fer.report.bundle.write_bundle import write_bundle

        print(write_bundle(opened, store, bundle))
    raise typer.Exit(0 if complete else 1)


if __name__ == "__main__":
    run(report)
