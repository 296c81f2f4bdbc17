"""Evaluation of trained models on splits, and the images that all of them misclassify."""

from pathlib import Path
from typing import Annotated

import typer

from fer.cli import run


def evaluate(
    split: Annotated[list[str], typer.Option(help="Such as real/test or lfw/eval; repeatable.")],
    runs: Annotated[list[str], typer.Argument(
        metavar="[RUN...]", help="Run folders, their names, ids, or name patterns; or weights "
        "files, such as launch/weights.py convert writes from original checkpoints.")] = [],  # noqa: B006
    study: Annotated[list[str], typer.Option(help="All trained runs of a study.")] = [],  # noqa: B006
    data: Annotated[str, typer.Option(
        help="A configuration whose data sets replace the runs' own; data.resplit, the people a "
             "run is tested on, stays the run's.")] = "",
    checkpoint: Annotated[str, typer.Option(
        help="best, last, or a folder of checkpoints/ such as step-00000300.")] = "best",
    tta: Annotated[bool, typer.Option(
        "--tta", help="Average over fixed views: mirrored, rotated 6°, shifted 4 %.")] = False,
    show: Annotated[int, typer.Option(
        min=0, help="Maximum number of images, misclassified by all models, to list.")] = 20,
    save: Annotated[Path | None, typer.Option(
        help="Folder for metrics and probabilities (CSV, JSON), confusion matrices, and the images "
             "that all models misclassify.")] = None,
) -> None:
    """Write predictions and metrics of models on splits; print them with confusion matrices.

    Predictions that exist for the current content of a split are not computed again.
    """
    from fer.commands.evaluate import Request, measure_models
    from fer.train.evaluate_run import Variant

    measure_models(Request(runs, study, split, data, Variant(checkpoint, tta), show, save))


if __name__ == "__main__":
    run(evaluate)
