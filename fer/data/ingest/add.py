"""Import of a data set: select the reader for a source, and report what was added."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer.data.ingest.archive import ARCHIVES, read_archive
from fer.data.ingest.assign_people import FOLDER, assign_people, identities
from fer.data.ingest.dataset_writer import Incoming, write_dataset
from fer.data.ingest.folders import Structure, read_folder
from fer.data.ingest.label_map import DROP, read_labels
from fer.data.ingest.left_out import refuse_losses, summary
from fer.data.ingest.picture_table import read_table
from fer.data.ingest.pixel_csv import holds_pixels, read_pixels
from fer.data.layout import SPLITS
from fer.data.people import people_text, people_warning
from fer.errors import CallerError, choices


@dataclass(frozen=True)
class AddRequest:
    """The arguments of `launch/data.py add`.

    Attributes:
        source: a zip, a folder or a CSV.
        name: of the set's folder below the data root; empty for the published archive's.
        split: of pictures whose source names no split.
        classes: of the set.
        labels: a label map; empty if labels are class names.
        link: create links instead of copies.
        any_hash: accept an archive that differs from the published one.
        people: who is in the pictures, as in `assign_people`.
        splits: `FOLDER=SPLIT,…` for split folders with other names; the split `drop` leaves out.
        partial: accept that more than a tenth of the pictures is left out.
        encoding: of file names in a zip, as in `member_names`.
        columns: `file=NAME,label=NAME,…` for a table whose columns have other names.
    """

    source: Path
    name: str = ""
    split: str = ""
    classes: tuple[str, ...] = ("negative", "neutral", "positive")
    labels: str = ""
    link: bool = False
    any_hash: bool = False
    people: str = ""
    splits: str = ""
    partial: bool = False
    encoding: str = ""
    columns: str = ""


def add(request: AddRequest, root: Path,
        progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Import a source below `root` and return lines that summarise it.

    Raises:
        CallerError: as in the source's reader and `write_dataset`.
    """
    if request.split and request.split not in SPLITS:
        raise CallerError(f"no split '{request.split}'; there are: {choices(SPLITS)}")
    incoming = assign_people(_read(request), request.people)
    name = request.name or _published(request.source)
    if not name:
        raise CallerError(f"{request.source.name} needs a name: --as NAME")
    target = set_folder(name, root)
    taken, left_out = len(incoming.items), incoming.left_out
    if not taken:
        raise CallerError(f"{request.source}: no pictures left: {summary(taken, left_out)}")
    refuse_losses(str(request.source), taken, left_out, request.partial)
    new = write_dataset(incoming, target, request.link, progress)
    lines = [*incoming.notes, f"{request.source.name}: {summary(taken, left_out)}"]
    for split, counts in sorted(_counts(incoming).items()):
        verb = "added" if split in new else "already present"
        classes = ", ".join(f"{counts[cls]} {cls}" for cls in request.classes)
        lines.append(f"{name}/{split}: {sum(counts.values())} pictures ({classes}) {verb}")
        there = [item for item in incoming.items if item.split == split]
        known = identities(there, incoming.people[split])
        lines.append(f"{name}/{split}: {people_text(known)}"
                     + ("" if all(known) else "; --people says how to tell who is who"))
        if line := people_warning(f"{name}/{split}", known):
            lines.append(line)
    return lines


def set_folder(name: str, root: Path) -> Path:
    """Return the folder of a new set.

    Raises:
        CallerError: it would be outside the data root.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or Path(name) == Path("."):
        raise CallerError(f"--as {name}: must be a name below FER_DATA, which is {root}")
    return root / name


def _read(request: AddRequest) -> Incoming:
    labels = read_labels(request.labels, request.classes)
    source, by_person = request.source, request.people == FOLDER
    how = Structure(request.split, _splits(request), labels if by_person else None)
    if source.is_dir():
        return read_folder(source, labels, how)
    if not source.is_file():
        raise CallerError(f"no file or folder {source}")
    if source.suffix.lower() == ".csv":
        if by_person or how.splits:
            raise CallerError(f"{source.name} is a table without folders: its columns identity and "
                              "split say what --people folder and --splits would")
        if holds_pixels(source):
            return read_pixels(source, labels, request.split)
        return read_table(source, labels, request.split, _columns(request.columns))
    if source.suffix.lower() == ".zip":
        return read_archive(source, labels, how, request.any_hash, request.encoding)
    raise CallerError(f"{source}: must be a .zip, a .csv or a folder")


def _columns(text: str) -> dict[str, str]:
    """Return our column name -> the table's."""
    entries = [entry.partition("=") for entry in text.split(",") if entry]
    wrong = ["".join(entry) for entry in entries if not (entry[0].strip() and entry[2].strip())]
    if wrong:
        raise CallerError(f"--columns {wrong[0]}: must be OURS=THEIRS, such as file=image")
    return {ours.strip(): theirs.strip() for ours, _, theirs in entries}


def _splits(request: AddRequest) -> dict[str, str]:
    """Return folder name in lower case -> split or `drop`."""
    entries = [entry.partition("=") for entry in request.splits.split(",") if entry]
    wrong = ["".join(entry) for entry in entries if entry[2].strip() not in (*SPLITS, DROP)]
    if wrong:
        raise CallerError(f"--splits {wrong[0]}: must be FOLDER=SPLIT with a split of "
                          f"{choices((*SPLITS, DROP))}")
    if request.split and entries:
        raise CallerError("--split is for class folders only, --splits for split folders")
    return {name.strip().lower(): split.strip() for name, _, split in entries}


def _published(source: Path) -> str:
    return source.stem if source.stem in ARCHIVES else ""


def _counts(incoming: Incoming) -> dict[str, Counter]:
    counts: dict[str, Counter] = {}
    for item in incoming.items:
        counts.setdefault(item.split, Counter())[item.cls] += 1
    return counts
