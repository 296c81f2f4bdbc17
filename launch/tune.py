"""Hyper-parameter search with Ray Tune."""

from typing import Annotated

import typer

from fer.cli import ProfileChanges, divide, run


def tune(
    arguments: Annotated[list[str], typer.Argument(
        metavar="SEARCH [key=value ...]",
        help="A search file, such as sweeps/demo-search.yaml, and overrides: of a key of the "
             "search, such as budget.trials=50; any other key is set in every trial.")],
    cluster: Annotated[str, typer.Option(
        help="Where to run: local, or a profile of slurm/profiles. Default: the one named in "
             "slurm/profiles/default.yaml if SLURM is available, else local.")] = "",
    changes: ProfileChanges = None,
    resume: Annotated[bool, typer.Option("--resume", help="Only resume a search that has begun.")]
    = False,
    retry: Annotated[bool, typer.Option("--retry", help="Retry failed trials.")] = False,
    slots: Annotated[int, typer.Option(help="Trials at a time; 0: as many as fit.")] = 0,
) -> None:
    """Search the space of a search file and write studies/SEARCH/best.yaml.

    After a kill or an interruption, the same command resumes where it stopped. Exit code 0 when
    every trial has ended and there is a best one, else 1; 2 for an invalid request.
    """
    from fer.commands.tune import tune as search
    from fer.errors import CallerError
    from fer.search.options import TuneOptions

    names, overrides = divide(arguments)
    if len(names) != 1:
        raise CallerError(f"one search at a time, not {', '.join(names) or 'none'}")
    asked = TuneOptions(names[0], tuple(overrides), resume, retry, slots)
    raise typer.Exit(search(asked, cluster, tuple(changes or ())))


if __name__ == "__main__":
    run(tune)
