"""Data sets in: add a zip, a folder or a table; mask a set; contact sheets."""

from typing import Annotated

import typer

from fer.command import run


def add(
    source: Annotated[str, typer.Argument(
        help="A zip (LFW-FER, M-LFW-FER, …), a folder of split or class folders, a CSV with file "
             "and label, or FER2013's CSV of pixels.")],
    name: Annotated[str, typer.Option(
        "--as", help="Folder of the set below FER_DATA. Default: the published archive's.")] = "",
    split: Annotated[str, typer.Option(help="Where pictures go that name no split.")] = "",
    labels: Annotated[str, typer.Option(
        help="A label map: a YAML file or a name in configs/labels, such as fer7.")] = "",
    classes: Annotated[str, typer.Option(help="Class names, separated by commas.")]
    = "negative,neutral,positive",
    link: Annotated[bool, typer.Option("--link", help="Link to the pictures, don't copy.")] = False,
    any_hash: Annotated[bool, typer.Option(
        "--any-hash", help="Take an archive that differs from the published one.")] = False,
) -> None:
    """Bring a data set into the layout below FER_DATA, whole or not at all."""
    from pathlib import Path

    from fer.config.places import data_root
    from fer.data.intake.add import Wish, add
    from fer.progress import shown

    wish = Wish(Path(source), name, split, tuple(classes.split(",")), labels, link, any_hash)
    with shown("adding pictures") as progress:
        lines = add(wish, data_root(), progress)
    typer.echo("\n".join(lines))


def mask(
    source: Annotated[str, typer.Argument(help="A data set's folder, or its name below FER_DATA.")],
    name: Annotated[str, typer.Option("--as", help="Folder of the masked twin below FER_DATA.")],
    styles: Annotated[str, typer.Option(help="Mask styles, separated by commas, or all.")] = "all",
    landmarks: Annotated[str, typer.Option(
        help="Where faces' features are: funnelled or cropped (templates), a CSV file, or "
             "detect.")] = "funnelled",
    splits: Annotated[str, typer.Option(help="Of these splits only, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(help="Another one gives other masks.")] = 1,
) -> None:
    """Write a twin of a data set with a synthetic mask in every picture, same file names."""
    from fer.config.places import cache, data_root
    from fer.data.masks.faces import find_faces
    from fer.data.masks.twin import Twin, write_twin
    from fer.progress import shown

    faces = find_faces(landmarks, cache())
    twin = Twin(data_root() / source, tuple(styles.split(",")), seed, faces, landmarks,
                tuple(splits.split(",")) if splits else None)
    with shown("drawing masks") as progress:
        written = write_twin(twin, data_root() / name, progress=progress)
    typer.echo(f"{data_root() / name}: {written or 'was there already'}")


def sheet(
    what: Annotated[str, typer.Argument(help="masks: styles x faces. Or an augmentation preset: "
                                             "what it does to pictures.")],
    pictures: Annotated[str, typer.Option(
        "--of", help="A data set's folder, or its name below FER_DATA. Default: drawn faces.")]
    = "",
    landmarks: Annotated[str, typer.Option(help="As for mask.")] = "",
    rows: Annotated[int, typer.Option(help="Pictures.")] = 4,
    out: Annotated[str, typer.Option(help="A .png or .jpg file.")] = "sheet.png",
) -> None:
    """Write a contact sheet: mask styles on faces, or what an augmentation preset does."""
    from pathlib import Path

    from fer.config.places import cache, data_root
    from fer.data.sheets import sheet

    size = sheet(what, data_root() / pictures if pictures else None, landmarks, rows, Path(out),
                 cache())
    typer.echo(f"{out}: {size[0]} x {size[1]} pixels")


if __name__ == "__main__":
    run(add, mask, sheet)
