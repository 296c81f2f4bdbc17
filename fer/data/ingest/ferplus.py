"""Reader for FERPlus: new labels for FER2013 by the votes of ten people (arXiv 1608.01041).

`fer2013new.csv` has a row for each row of `fer2013.csv`, in the same order, with the number of
votes for each of eight expressions, `unknown` and `NF` (not a face). A picture's label is what most
votes are for; pictures without a single winner, or that most take for unknown or for no face, are
left out. The share of votes for the label is kept as `agreement`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.ingest.label_map import Labels
from fer.data.ingest.left_out import LeftOut
from fer.data.ingest.picture_table import read_rows
from fer.data.ingest.pixel_csv import USAGES, pixel_item
from fer.data.metadata import Facts
from fer.errors import CallerError
from fer.plain_text import shortened

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear",
               "contempt")
OTHERS = ("unknown", "NF")


def read_ferplus(folder: Path, files: Sequence[Path], labels: Labels) -> Incoming:
    """Return FER2013's pictures with the labels of FERPlus.

    Args:
        folder: contains `fer2013new.csv` and `fer2013.csv`, anywhere.
        files: below it, relative.
        labels: of the names in `EXPRESSIONS`.

    Raises:
        CallerError: one of the two is missing, rows do not match, or a vote is no number.
    """
    votes_file = _only(folder, files, "fer2013new.csv")
    pixels_file = _only(folder, files, "fer2013.csv")
    votes, names = read_rows(votes_file)
    missing = [name for name in ("Usage", *EXPRESSIONS, *OTHERS) if name not in names]
    if missing:
        raise CallerError(f"{votes_file}: no column '{missing[0]}'")
    rows, columns = read_rows(pixels_file)
    if not {"pixels", "Usage"} <= {*columns} or len(rows) != len(votes):
        raise CallerError(f"{pixels_file}: {len(rows)} rows with {', '.join(columns)}; "
                          f"{votes_file.name} has {len(votes)} rows, in the same order: take the "
                          "original fer2013.csv")
    items: list[Item] = []
    left_out: list[LeftOut] = []
    for line, (row, ballot) in enumerate(zip(rows, votes, strict=True), 2):
        place = f"{votes_file}:{line}"
        if row["Usage"].strip() != ballot["Usage"].strip():
            raise CallerError(f"{place}: usage {ballot['Usage']} is {row['Usage']} in "
                              f"{pixels_file.name}: not the same order")
        split = USAGES.get(row["Usage"].strip().lower())
        if split is None:
            raise CallerError(f"{place}: unknown usage '{shortened(row['Usage'])}'")
        label, agreement = winner(ballot, place)
        if label not in EXPRESSIONS:
            left_out.append(LeftOut(f"line {line}", label))
            continue
        cls = labels.of(label, place)
        if cls is None:
            left_out.append(labels.left_out(label, f"line {line}"))
            continue
        item = pixel_item(row["pixels"], split, cls, line, f"{pixels_file}:{line}")
        items.append(replace(item, facts=Facts(agreement=f"{agreement:.3g}")))
    left_out += [LeftOut(str(file), "beside the two tables") for file in files
                 if folder / file not in (votes_file, pixels_file)]
    return Incoming(str(folder.absolute()), items, left_out=left_out)


def winner(ballot: dict[str, str], place: str) -> tuple[str, float]:
    """Return the expression with most votes and its share, or why there is none and 0.

    Raises:
        CallerError: a vote is not a whole number.
    """
    try:
        votes = {name: int(ballot[name]) for name in (*EXPRESSIONS, *OTHERS)}
    except ValueError:
        raise CallerError(f"{place}: votes are not whole numbers") from None
    most, total = max(votes.values()), sum(votes.values())
    first = [name for name, count in votes.items() if count == most]
    if len(first) > 1 or not total:
        return "without a single winner of the votes", 0.0
    if first[0] in OTHERS:
        return f"that most take for {'no face' if first[0] == 'NF' else 'unknown'}", 0.0
    return first[0], most / total


def _only(folder: Path, files: Sequence[Path], name: str) -> Path:
    found = [file for file in files if file.name.lower() == name]
    if len(found) != 1:
        raise CallerError(f"{folder}: {len(found)} files {name}; FERPlus needs fer2013new.csv and "
                          "FER2013's fer2013.csv, which holds the pictures, in one folder")
    return folder / found[0]
