"""Look at this machine, the cluster and the disks before a study is started."""

from typing import Annotated

import typer

from fer.cli import run


def doctor(
    study: Annotated[str, typer.Argument(help="A study file whose needs are looked at too.")] = "",
    cluster: Annotated[str, typer.Option(help="A profile of slurm/profiles, or local.")] = "",
) -> None:
    """Print a line a check: ok, warning or failure, with what mends it.

    Looks at Python, torch, driver and GPUs; at SLURM, with a submission that is only tested; at the
    file systems of FER_HOME and FER_CACHE; and at what a study needs. Exit code 1 on a failure.
    """
    from fer.cluster.doctor.finding import print_findings
    from fer.commands.doctor import examine

    raise typer.Exit(0 if print_findings(examine(study, cluster)) else 1)


if __name__ == "__main__":
    run(doctor)
