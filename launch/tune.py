"""Search hyper-parameters with Ray Tune and write the best configuration."""

from typing import Annotated

import typer

from fer.cli import divide, run


def tune(
    arguments: Annotated[list[str], typer.Argument(
        metavar="SEARCH [key=value ...]",
        help="A search file, such as sweeps/demo-search.yaml, and overrides: of a search's key, as "
             "in budget.trials=50; any other key is set in every trial.")],
    cluster: Annotated[str, typer.Option(
        help="Where to run: local, or a profile of slurm/profiles. Default: what "
             "slurm/profiles/default.yaml names where there is SLURM, else local.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Only go on with one that has begun.")]
    = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try failed trials again.")] = False,
    slots: Annotated[int, typer.Option(help="Trials at a time; 0: as many as fit.")] = 0,
) -> None:
    """Search the space of a search file and write studies/SEARCH/best.yaml.

    Killed or interrupted, the same command goes on where it stood. Exit code 0 when every trial
    is accounted for and there is a best one, 1 when not, 2 for a mistake in what was asked.
    """
    from fer.commands.tune import tune as search
    from fer.errors import CallerError
    from fer.search.options import TuneOptions

    names, overrides = divide(arguments)
    if len(names) != 1:
        raise CallerError(f"one search at a time, not {', '.join(names) or 'none'}")
    raise typer.Exit(search(TuneOptions(names[0], tuple(overrides), resume, retry, slots), cluster))


if __name__ == "__main__":
    run(tune)
