"""Evaluate trained runs on a split, and show what all of them get wrong."""

from typing import Annotated

import typer

from fer.command import run


def evaluate(
    runs: Annotated[list[str], typer.Argument(
        metavar="RUN...", help="Run folders, their names, ids, or patterns of names.")],
    split: Annotated[str, typer.Option(help="Such as real/test or lfw/eval.")],
    data: Annotated[str, typer.Option(
        help="A configuration whose data sets to use instead of the runs' own; which people a "
             "run is tested on (data.resplit) stays its own.")] = "",
    show: Annotated[int, typer.Option(help="Most pictures to list that all runs get wrong.")] = 20,
) -> None:
    """Write predictions and metrics of runs on a split; print them with confusion matrices.

    What is there already for the present content of the split is not computed again.
    """
    from fer.engine.measure import measure_runs

    measure_runs(runs, split, data, show)


if __name__ == "__main__":
    run(evaluate)
