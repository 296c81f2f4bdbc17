"""Evaluate trained models on splits, and show what all of them get wrong."""

from pathlib import Path
from typing import Annotated

import typer

from fer.cli import run


def evaluate(
    split: Annotated[list[str], typer.Option(help="Such as real/test or lfw/eval; repeatable.")],
    runs: Annotated[list[str], typer.Argument(
        metavar="[RUN...]", help="Run folders, their names, ids, or patterns of names; or weights "
        "files, such as launch/weights.py convert makes of original checkpoints.")] = [],  # noqa: B006
    study: Annotated[list[str], typer.Option(help="All trained runs of a study.")] = [],  # noqa: B006
    data: Annotated[str, typer.Option(
        help="A configuration whose data sets to use instead of the runs' own; which people a "
             "run is tested on (data.resplit) stays its own.")] = "",
    checkpoint: Annotated[str, typer.Option(
        help="best, last, or a folder of checkpoints/ such as step-00000300.")] = "best",
    tta: Annotated[bool, typer.Option(
        "--tta", help="Average over fixed views: mirrored, turned by 6°, shifted by 4 %.")] = False,
    show: Annotated[int, typer.Option(
        min=0, help="Most pictures to list that all get wrong.")] = 20,
    save: Annotated[Path | None, typer.Option(
        help="Folder for confusion matrices, and the pictures that all models get wrong.")] = None,
) -> None:
    """Write predictions and metrics of models on splits; print them with confusion matrices.

    What is there already for the present content of a split is not computed again.
    """
    from fer.commands.evaluate import Request, measure_models
    from fer.train.evaluate_run import Variant

    measure_models(Request(runs, study, split, data, Variant(checkpoint, tta), show, save))


if __name__ == "__main__":
    run(evaluate)
