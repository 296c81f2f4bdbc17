"""Preflight checks of this machine, the cluster and the disks."""

from typing import Annotated

import typer

from fer.cli import ProfileChanges, run


def doctor(
    study: Annotated[str, typer.Argument(help="A study file whose needs are checked too.")] = "",
    cluster: Annotated[str, typer.Option(help="A profile of slurm/profiles, or local.")] = "",
    probe: Annotated[bool, typer.Option(
        "--probe", help="Submit a short job that tries a node, and wait for it.")] = False,
    changes: ProfileChanges = None,
) -> None:
    """Print one line per check: ok, warning or failure, with how to fix it.

    Checks Python, torch, driver and GPUs; SLURM, with a test-only submission; the file systems of
    FER_HOME and FER_CACHE; and the requirements of a study. `--probe` also runs a job that
    imports torch, looks for data, weights and a GPU, writes to the store and is requeued once.
    Exit code 1 on a failure.
    """
    from fer.cluster.doctor.finding import print_findings
    from fer.commands.doctor import examine

    found = examine(study, cluster, tuple(changes or ()), probe)
    raise typer.Exit(0 if print_findings(found) else 1)


if __name__ == "__main__":
    run(doctor)
