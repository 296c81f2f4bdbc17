"""Data sets: import, update, remove, verify, list and mask sets; contact sheets."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from fer.cli import run
from fer.plain_text import without_controls


def add(
    source: Annotated[str, typer.Argument(
        help="A zip (LFW-FER, M-LFW-FER, …), a folder of split or class folders, a known data set "
             "(RAF-DB, AffectNet, FERPlus, CK+, a Hugging Face folder), a CSV with the columns "
             "file and label, or FER2013's CSV of pixels.")],
    name: Annotated[str, typer.Option(
        "--as", help="Folder of the set in FER_DATA. Default: the published archive's.")] = "",
    split: Annotated[str, typer.Option(help="Split of images whose source names none.")] = "",
    labels: Annotated[str, typer.Option(
        help="A label map: a YAML file or a name in configs/labels: fer7 (names only), "
             "fer2013, ferplus, affectnet, rafdb, ckplus.")] = "",
    classes: Annotated[str, typer.Option(help="Class names, separated by commas.")]
    = "negative,neutral,positive",
    link: Annotated[bool, typer.Option("--link", help="Link images, do not copy them.")] = False,
    any_hash: Annotated[bool, typer.Option(
        "--any-hash", help="Accept an archive that differs from the published one.")] = False,
    people: Annotated[str, typer.Option(
        help="Who is in the images: names (PERSON_NNNN), folder (one per person), unknown, or a "
             "regular expression on file names whose first group is the person. Default: LFW's "
             "names, or the table's column identity, else unknown.")] = "",
    splits: Annotated[str, typer.Option(
        help="FOLDER=SPLIT,... for split folders with other names; SPLIT drop leaves out.")] = "",
    partial: Annotated[bool, typer.Option(
        "--partial", help="Accept that more than a tenth of the images is left out.")] = False,
    encoding: Annotated[str, typer.Option(
        help="Encoding of file names in a zip. Default: UTF-8 or cp932 where they fit.")] = "",
    columns: Annotated[str, typer.Option(
        help="file=NAME,label=NAME,... for a table whose columns have other names; NAME=NAME keeps "
             "a further column.")] = "",
) -> None:
    """Import a data set into FER_DATA, completely or not at all."""
    from fer.config.paths import data_root
    from fer.data.ingest.add import AddRequest, add
    from fer.progress import shown

    request = AddRequest(Path(source), name, split, tuple(classes.split(",")), labels, link,
                         any_hash, people, splits, partial, encoding, columns)
    with shown("adding images") as progress:
        lines = add(request, data_root(), progress, _say)
    _say("\n".join(lines))


def update(
    source: Annotated[str, typer.Argument(help="As for add.")],
    name: Annotated[str, typer.Option("--as", help="Folder of the set in FER_DATA.")],
    split: Annotated[str, typer.Option(help="As for add.")] = "",
    labels: Annotated[str, typer.Option(help="As for add.")] = "",
    classes: Annotated[str, typer.Option(help="As for add.")] = "negative,neutral,positive",
    link: Annotated[bool, typer.Option("--link", help="As for add.")] = False,
    any_hash: Annotated[bool, typer.Option("--any-hash", help="As for add.")] = False,
    people: Annotated[str, typer.Option(help="As for add.")] = "",
    splits: Annotated[str, typer.Option(help="As for add.")] = "",
    partial: Annotated[bool, typer.Option("--partial", help="As for add.")] = False,
    encoding: Annotated[str, typer.Option(help="As for add.")] = "",
    columns: Annotated[str, typer.Option(help="As for add.")] = "",
) -> None:
    """Import a source that has changed again: its splits replace those in the set."""
    from fer.config.paths import data_root
    from fer.data.ingest.add import AddRequest
    from fer.data.ingest.update import update
    from fer.progress import shown

    request = AddRequest(Path(source), name, split, tuple(classes.split(",")), labels, link,
                         any_hash, people, splits, partial, encoding, columns)
    with shown("adding images") as progress:
        lines = update(request, data_root(), progress)
    _say("\n".join(lines))


def remove(
    name: Annotated[str, typer.Argument(help="A set's folder in FER_DATA, or SET/SPLIT.")],
    sure: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
) -> None:
    """Remove a set, or one split of it, that add has written."""
    from fer.config.paths import data_root
    from fer.data.ingest.update import remove

    _say("\n".join(remove(name, data_root(), sure)))


def mask(
    source: Annotated[str, typer.Argument(help="A data set's folder, or its name in FER_DATA.")],
    name: Annotated[str, typer.Option("--as", help="Folder of the masked copy in FER_DATA.")],
    styles: Annotated[str, typer.Option(help="Mask styles, separated by commas, or all.")] = "all",
    landmarks: Annotated[str, typer.Option(
        help="Facial landmarks: funnelled or cropped (templates), a CSV file, or detect. "
             "Default: funnelled, for images of LFW's size.")] = "",
    splits: Annotated[str, typer.Option(help="Only these splits, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(help="Seed of the masks.")] = 1,
) -> None:
    """Write a copy of a data set with a synthetic mask in every image, same file names."""
    from fer.config.paths import data_root
    from fer.data.ingest.add import set_folder
    from fer.data.masks.landmarks import landmark_source
    from fer.data.masks.masked_copy import Twin, default_landmarks, write_twin
    from fer.progress import shown

    landmarks = landmarks or default_landmarks(data_root() / source)
    faces = landmark_source(landmarks)
    twin = Twin(data_root() / source, tuple(styles.split(",")), seed, faces, landmarks,
                tuple(splits.split(",")) if splits else None)
    with shown("drawing masks") as progress:
        written = write_twin(twin, set_folder(name, data_root()), progress=progress)
    typer.echo(f"{data_root() / name}: {written or 'was there already'}")


def align(
    source: Annotated[str, typer.Argument(
        help="A folder of pictures in any folders, or a data set's name in FER_DATA.")],
    out: Annotated[str, typer.Option(help="Folder of the aligned pictures.")] = "",
    name: Annotated[str, typer.Option(
        "--as", help="Instead of --out: folder of the aligned set in FER_DATA.")] = "",
    frame: Annotated[str, typer.Option(
        help="Where faces lie: funnelled (LFW), cropped, drawn, or a set in FER_DATA, whose faces "
             "are measured.")] = "funnelled",
    least: Annotated[int, typer.Option(
        help="Smallest face in pixels; smaller ones are left out.")] = 40,
    largest: Annotated[bool, typer.Option(
        "--largest", help="Of several faces of similar size, take the largest; else such images "
                          "are left out.")] = False,
    boxes: Annotated[Optional[Path], typer.Option(  # noqa: UP045 - typer reads it
        help="A table of boxes by hand (file, left, top, right, bottom), such as annotate.py "
             "export writes; faces are then not searched.")] = None,
) -> None:
    """Find the face in every image, and write it rotated and cropped into one frame.

    faces.csv has a row for each image: its original, the box of the face, or why it is left out.
    """
    from fer.config.paths import data_root
    from fer.data.faces.aligned_copy import AlignRequest, align_folder
    from fer.data.faces.box_table import read_boxes
    from fer.data.faces.framing import named_frame
    from fer.data.ingest.add import set_folder
    from fer.errors import CallerError
    from fer.progress import shown

    if bool(out) == bool(name):
        raise CallerError("align needs --out FOLDER, or --as NAME for a set in FER_DATA")
    target = set_folder(name, data_root()) if name else Path(out)
    folder = Path(source) if Path(source).is_dir() else data_root() / source
    request = AlignRequest(folder, target, named_frame(frame, data_root()), least, largest,
                           None if boxes is None else read_boxes(boxes))
    with shown("aligning faces") as progress:
        lines = align_folder(request, progress=progress)
    _say("\n".join(lines))


def verify(
    names: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="[SET ...]", help="Sets of the configuration, or folders in FER_DATA. "
                                  "Default: all that exist.")] = None,
    config: Annotated[str, typer.Option(help="Configuration with the sets.")] = "configs/base.yaml",
    out: Annotated[str, typer.Option(help="Page with findings and sample images.")]
    = "data-check.html",
) -> None:
    """Check every image: counts, damage, duplicates, people in two splits, pairs.

    Exit code 0 when no problem was found that would bias your results, else 1.
    """
    from fer.atomic_io import write_text
    from fer.config.paths import cache, data_root
    from fer.data.faces.framing_record import remember
    from fer.data.verify.verify import data_of, framing_lines, lines, page, verify
    from fer.errors import plural
    from fer.progress import shown

    data = data_of(config, names or [], data_root())
    with shown("checking images") as progress:
        verdict = verify(data, data_root(), progress, named=bool(names))
    write_text(Path(out), page(verdict))
    remember(cache(), {split: [picture.path for picture in pictures]
                       for split, pictures in verdict.splits.items()}, verdict.framing)
    _say("\n".join(lines(data, data_root(), verdict.splits)))
    _say("\n".join(framing_lines(verdict)))
    for finding in verdict.findings:
        _say(f"{'WRONG' if finding.grave else 'note '} {finding.kind}: {finding.where}: "
             f"{finding.text}, such as {(finding.examples or ('',))[0]}".removesuffix(
                 ", such as "))
    typer.echo(f"{plural(len(verdict.grave), 'problem')} that would bias your results, "
               f"{plural(len(verdict.findings) - len(verdict.grave), 'other finding')}: {out}")
    raise typer.Exit(1 if verdict.grave else 0)


def list_sets(
    names: Annotated[Optional[list[str]], typer.Argument(  # noqa: UP045 - typer reads it
        metavar="[SET ...]", help="As for verify.")] = None,
    config: Annotated[str, typer.Option(help="Configuration with the sets.")] = "configs/base.yaml",
) -> None:
    """List existing data sets: splits, images per class, people, origin.

    Also lists the packs of them in FER_CACHE, and names those of images that have changed since.
    """
    from fer.config.paths import cache, data_root
    from fer.data.verify.verify import data_of, lines, lines_about, pictures_on_disk, stored_packs

    data = data_of(config, names or [], data_root())
    splits, not_read = pictures_on_disk(data, data_root(), named=bool(names))
    sets = [*lines(data, data_root(), splits), *(f"{one.where}: not read: {one.text}"
                                                 for one in not_read)]
    _say("\n".join([*sets, *lines_about(stored_packs(cache()))]))


def sheet(
    what: Annotated[str, typer.Argument(help="masks: styles x faces. mixup, cutmix or an "
                                             "augmentation preset: its effect on images.")],
    pictures: Annotated[str, typer.Option(
        "--of", help="A data set's folder, or its name in FER_DATA. Default: drawn faces.")]
    = "",
    landmarks: Annotated[str, typer.Option(help="As for mask.")] = "",
    rows: Annotated[int, typer.Option(help="Number of images.")] = 4,
    out: Annotated[str, typer.Option(help="A .png or .jpg file.")] = "sheet.png",
) -> None:
    """Write a contact sheet: mask styles on faces, or the effect of an augmentation preset."""
    from fer.config.paths import data_root
    from fer.data.contact_sheet import sheet

    size = sheet(what, data_root() / pictures if pictures else None, landmarks, rows, Path(out))
    typer.echo(f"{out}: {size[0]} x {size[1]} pixels")


def _say(text: str) -> None:
    """Print text in which names of files may stand."""
    typer.echo(without_controls(text))


if __name__ == "__main__":
    run(add, update, remove, align, verify, list_sets, mask, sheet)
