"""A study from start to end: expand, plan and run what is missing, evaluate, report."""

from typing import Annotated, Optional

import typer

from fer.cli import ProfileChanges, divide, run


def sweep(
    arguments: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="[STUDY] [key=value ...]",
        help="A study file (default: sweeps/paper.yaml) and overrides: of a key of the study, such "
             "as grid.seed='[0,1]' or resources.runs_per_job=4; any other key is set in all runs.",
    )] = None,
    cluster: Annotated[str, typer.Option(
        help="Where to run: local, or a profile of slurm/profiles. Default: the one named in "
             "slurm/profiles/default.yaml if SLURM is available, else local.")] = "",
    changes: ProfileChanges = None,
    dry_run: Annotated[bool, typer.Option(
        "--dry-run", help="Print runs, plan, scripts, space and time only.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return immediately.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Retry failed and cancelled runs.")]
    = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Serve TensorBoard.")] = False,
    slots: Annotated[int, typer.Option(help="Jobs at a time; 0: one per GPU or core.")] = 0,
) -> None:
    """Run what is missing from a study, on this machine or on SLURM, evaluate it and report.

    After a kill or an interruption, the same command resumes where it stopped. On an interruption,
    jobs on this machine save and exit; jobs on SLURM continue. Exit code 0 when every run is
    complete, 1 when some failed, 2 for an invalid request.
    """
    from fer.cluster.request import Request
    from fer.commands import sweep as study_sweep

    names, overrides = divide(arguments or [])
    request = Request(tuple(names), tuple(overrides), cluster, retry, slots,
                      follow=not detach, tensorboard=tensorboard,
                      profile_changes=tuple(changes or ()))
    if dry_run:
        study_sweep.dry_run(request)
    else:
        raise typer.Exit(study_sweep.sweep(request))


if __name__ == "__main__":
    run(sweep)
