"""Run a study: expand it, plan what is missing, run that, evaluate, report."""

from typing import Annotated, Optional

import typer

from fer.cli import divide, run


def sweep(
    arguments: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="[STUDY] [key=value ...]",
        help="A study file (default: sweeps/paper.yaml) and overrides: of a study's key, as in "
             "grid.seed='[0,1]' or resources.runs_per_job=4; any other key is set in every run.",
    )] = None,
    cluster: Annotated[str, typer.Option(
        help="Where to run: local, or a profile of slurm/profiles. Default: what "
             "slurm/profiles/default.yaml names where there is SLURM, else local.")] = "",
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Print runs, plan, scripts, space and time; do nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed and cancelled runs again.")]
    = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Serve it meanwhile.")] = False,
    slots: Annotated[int, typer.Option(help="Jobs at a time; 0: one a GPU, or one a core.")] = 0,
) -> None:
    """Run what is missing of a study, on this machine or on SLURM, evaluate it and report.

    Killed or interrupted, the same command goes on where it stood: jobs on this machine save and
    leave first, jobs on SLURM need nobody to follow them. Exit code 0 when every run is there, 1
    when some failed, 2 for a mistake in what was asked.
    """
    from fer.cluster.request import Request
    from fer.commands import sweep as study_sweep

    names, overrides = divide(arguments or [])
    request = Request(tuple(names), tuple(overrides), cluster, retry, slots,
                      follow=not detach, tensorboard=tensorboard)
    if dry_run:
        study_sweep.dry_run(request)
    else:
        raise typer.Exit(study_sweep.sweep(request))


if __name__ == "__main__":
    run(sweep)
