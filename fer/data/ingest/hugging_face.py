"""Reader of Hugging Face's image folders: a `metadata.csv` or `.jsonl` beside the pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fer.data.ingest.known_sets import TABLE_OF_HUGGING_FACE, Labelled, Source
from fer.data.ingest.picture_table import read_rows
from fer.data.layout import SPLIT_NAMES
from fer.data.metadata import Facts
from fer.errors import CallerError
from fer.untrusted_io import parse_json

LABEL_COLUMNS = ("label", "expression", "emotion")


def read_hugging_face(source: Source) -> list[Labelled]:
    """Return the pictures of an image folder.

    Raises:
        CallerError: a file that is missing or no column for it or the label; names the line.
    """
    found = []
    for table, _ in source.named(TABLE_OF_HUGGING_FACE):
        for line, row in _rows(source, table):
            place = f"{table}:{line}"
            name = _cell(source, row, ("file_name", "file"), "file", place)
            path = source.folder / table.parent / name.replace("\\", "/")
            if not path.is_file():
                raise CallerError(f"{place}: no file {path}")
            said = str(row.get(source.columns.get("split", "split")) or "")
            inside = [*table.parent.parts, *Path(name).parts[:-1]]
            known = {**SPLIT_NAMES, **source.splits}
            folder = next((part for part in inside if part.lower() in known), "")
            identity, mask_type, pose, annotator = (
                str(row.get(source.columns.get(ours, ours)) or "")
                for ours in ("identity", "mask_type", "pose", "annotator"))
            facts = Facts(identity, mask_type, pose, annotator)
            label = _cell(source, row, LABEL_COLUMNS, "label", place)
            found.append(Labelled(path, source.split_of(said or folder, place), label, place,
                                  facts))
    return found


def is_hugging_face(source: Source) -> bool:
    """Return whether a `metadata.csv` or `.jsonl` labels pictures; else it describes folders."""
    label = source.columns.get("label", "label")
    for table, _ in source.named(TABLE_OF_HUGGING_FACE):
        names = set(re.findall(r"\w+", source.text(table).partition("\n")[0]))
        if "file_name" in names and names & {*LABEL_COLUMNS, label}:
            return True
    return False


def _cell(source: Source, row: Mapping[str, object], usual: Sequence[str], ours: str, place: str
          ) -> str:
    names = (source.columns[ours],) if ours in source.columns else usual
    there = [name for name in names if name in row]
    if len(there) != 1:
        problem = "no column" if not there else "more than one column"
        raise CallerError(f"{place}: {problem} of {', '.join(names)} among {', '.join(row)}; "
                          f"--columns {ours}=NAME names it")
    return str(row[there[0]]).strip()


def _rows(source: Source, table: Path) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield line and row of a CSV or of JSON lines, without blank lines."""
    if table.suffix.lower() == ".csv":
        yield from enumerate(read_rows(source.folder / table)[0], 2)
        return
    for line, text in enumerate(source.text(table).split("\n"), 1):
        if not text.strip():
            continue
        try:
            row = parse_json(text)
        except ValueError as error:
            raise CallerError(f"{source.folder / table}:{line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise CallerError(f"{source.folder / table}:{line}: not an object")
        yield line, row
