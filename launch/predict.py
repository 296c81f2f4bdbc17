"""Expressions on pictures, by trained models."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from fer.cli import run


def predict(
    model: Annotated[str, typer.Argument(
        help="A run (folder, name, id, or a pattern: the mean over the runs that fit), a weights "
             "file, or a folder of launch/weights.py export --folder.")],
    pictures: Annotated[list[str], typer.Argument(
        metavar="PICTURES...", help="Pictures of faces, cropped as in training; folders; or "
                                    "patterns such as 'photos/**/*.jpg'.")],
    another: Annotated[list[str], typer.Option(
        "--with", metavar="MODEL", help="Another model, averaged with the first; repeatable.")
    ] = [],  # noqa: B006
    out: Annotated[list[Path], typer.Option(
        help="A table to write: .csv, .jsonl or .parquet; repeatable. Default: CSV to standard "
             "output.")] = [],  # noqa: B006
    annotated: Annotated[Optional[Path], typer.Option(  # noqa: UP045 - typer reads it
        help="Folder for copies of the pictures with their probabilities.")] = None,
    accuracy: Annotated[Optional[float], typer.Option(  # noqa: UP045
        min=0, max=1, help="Wanted of the validation pictures that are called sure; pictures with "
                           "less confidence are 'not sure'. Default: 0.9.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures in a forward pass.")] = 64,
    workers: Annotated[Optional[int], typer.Option(  # noqa: UP045
        min=0, help="Loader processes. Default: one per core for many pictures, else none.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    faces: Annotated[str, typer.Option(
        help="cropped: the pictures are cropped as in training. find: find the largest face in "
             "each, and align it as launch/data.py align does.")] = "cropped",
    frame: Annotated[str, typer.Option(
        help="With --faces find: where faces lie in the training set: funnelled (LFW), cropped, or "
             "a set in FER_DATA, whose faces are measured.")] = "funnelled",
) -> None:
    """Write the class and the probabilities of each picture; an unusable one has a reason.

    Calibrated probabilities are those divided by a temperature fitted on validation.
    """
    from fer.commands.predict import Request, predict_pictures
    from fer.errors import CallerError

    if faces not in ("cropped", "find"):
        raise CallerError(f"no --faces '{faces}'; there are: cropped, find")
    if faces == "find" and not frame:
        raise CallerError("--frame: name a template or a set, such as funnelled")
    if faces == "cropped" and frame != "funnelled":
        raise CallerError(f"--frame {frame} is for --faces find")
    predict_pictures(Request([model, *another], pictures, out, annotated, accuracy, batch_size,
                             workers, device, frame if faces == "find" else ""))


if __name__ == "__main__":
    run(predict)
