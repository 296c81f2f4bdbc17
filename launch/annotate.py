"""Label pictures in a local page, by several annotators; agreement, merged labels, reviews."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from fer.cli import run

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pictures.")]


def label(
    folder: Folder,
    port: Annotated[int, typer.Option(
        min=0, max=65535, help="Port on loopback; 0: the default or a free one.")] = 0,
    instructions: Annotated[Optional[Path], typer.Option(  # noqa: UP045 - typer reads it
        help="Markdown file shown beside the picture. Default: FOLDER/instructions.md.")] = None,
    round_name: Annotated[str, typer.Option("--round", help="Default: the newest.")] = "",
    classes: Annotated[str, typer.Option(
        help="Separated by commas. Default: negative,neutral,positive.")] = "",
    mask_types: Annotated[str, typer.Option(help="Separated by commas; none: not asked.")] = "",
    poses: Annotated[str, typer.Option(help="Separated by commas; none: not asked.")] = "",
    seed: Annotated[Optional[int], typer.Option(help="Of the order of pictures.")] = None,  # noqa: UP045
    repeated: Annotated[Optional[float], typer.Option(  # noqa: UP045
        help="Share of pictures shown twice. Default: 0.1.")] = None,
    boxes: Annotated[Optional[bool], typer.Option(  # noqa: UP045
        "--boxes", help="Whole pictures: ask for the box of the face too.")] = None,
) -> None:
    """Serve the labelling page on loopback (also without the word `label`).

    Prints its address with a random token and, over ssh, the command for a tunnel.
    """
    from fer.commands.annotate import LabelRequest, label_pictures

    given: dict = {name: [part.strip() for part in text.split(",")] if text != "none" else []
                   for name, text in (("classes", classes), ("mask_types", mask_types),
                                      ("poses", poses)) if text}
    given |= {name: value for name, value in (("seed", seed), ("repeated", repeated),
                                                 ("boxes", boxes))
              if value is not None}
    label_pictures(LabelRequest(folder, port, instructions, round_name, given))


def agreement(
    folder: Folder,
    round_name: Annotated[str, typer.Option(
        "--round", help="Default: the first label of each picture.")] = "",
) -> None:
    """Print kappa, alpha, self-agreement and confusions of the annotators."""
    from fer.commands.annotate import show_agreement

    show_agreement(folder, round_name)


def review(
    folder: Folder,
    listed: Annotated[Optional[Path], typer.Option(  # noqa: UP045
        "--list", help="A CSV with the column file. Default: the contested pictures.")] = None,
) -> None:
    """Start another round, of the contested or the listed pictures only."""
    from fer.commands.annotate import start_review

    start_review(folder, listed)


def export(
    folder: Folder,
    to: Annotated[Path, typer.Option(help="The CSV for launch/data.py add.")] = Path("labels.csv"),
    merge: Annotated[str, typer.Option(help="majority or dawid-skene.")] = "majority",
    split: Annotated[str, typer.Option(help="Of all pictures; also an option of add.")] = "",
    people: Annotated[str, typer.Option(help="folder: the first folder is the person.")] = "",
    known: Annotated[list[str], typer.Option(
        help="Set whose pictures are flagged; repeatable. Default: all on disk.")] = [],  # noqa: B006
) -> None:
    """Merge the labels and write the table that launch/data.py add takes."""
    from fer.commands.annotate import export_labels

    export_labels(folder, to, merge, split, people, known)


def errors(
    study: Annotated[str, typer.Argument(help="A study whose runs predict the split.")],
    split: Annotated[str, typer.Option(help="Such as real/test; not one trained on.")],
    most: Annotated[int, typer.Option(
        min=0, help="Pictures in the round. 0: all that are suspect.")] = 0,
) -> None:
    """Start a round of the pictures of a data set whose labels are probably wrong."""
    from fer.commands.annotate import find_errors

    find_errors(study, split, most)


VERBS = (label, agreement, review, export, errors)

if __name__ == "__main__":
    names = [verb.__name__ for verb in VERBS]
    if len(sys.argv) > 1 and sys.argv[1] not in (*names, "-h", "--help"):
        sys.argv.insert(1, "label")
    run(*VERBS)
