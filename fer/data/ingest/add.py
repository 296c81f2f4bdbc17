"""Import of a data set: select the reader for a source, and report what was added."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer.data.file_walk import all_files
from fer.data.ingest.archive import ARCHIVES, names_in, read_archive
from fer.data.ingest.assign_people import FOLDER, assign_people, identities
from fer.data.ingest.dataset_writer import Incoming, write_dataset
from fer.data.ingest.ferplus import read_ferplus
from fer.data.ingest.folders import Structure, read_folder
from fer.data.ingest.hugging_face import is_hugging_face
from fer.data.ingest.known_sets import (
    FERPLUS,
    HUGGING_FACE,
    KnownSet,
    Source,
    recognise,
    said,
)
from fer.data.ingest.label_map import DROP, Labels, read_labels
from fer.data.ingest.left_out import refuse_losses, summary
from fer.data.ingest.picture_table import read_table
from fer.data.ingest.pixel_csv import holds_pixels, read_pixels
from fer.data.ingest.set_readers import read_known
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
        progress: Callable[[int, int], None] | None = None,
        say: Callable[[str], None] | None = None) -> list[str]:
    """Import a source below `root` and return lines that summarise it.

    Args:
        progress: called with (pictures done, total).
        say: called before anything is written with the lines on what the source is; default: they
            are the first lines returned.

    Raises:
        CallerError: as in the source's reader and `write_dataset`.
    """
    if request.split and request.split not in SPLITS:
        raise CallerError(f"no split '{request.split}'; there are: {choices(SPLITS)}")
    incoming, people = _read(request)
    incoming = assign_people(incoming, people)
    name = request.name or _published(request.source)
    if not name:
        raise CallerError(f"{request.source.name} needs a name: --as NAME")
    target = set_folder(name, root)
    taken, left_out = len(incoming.items), incoming.left_out
    if not taken:
        raise CallerError(f"{request.source}: no pictures left: {summary(taken, left_out)}")
    refuse_losses(str(request.source), taken, left_out, request.partial)
    notes = list(incoming.notes)
    while say and notes:
        say(notes.pop(0))
    new = write_dataset(incoming, target, request.link, progress)
    lines = [*notes, f"{request.source.name}: {summary(taken, left_out)}"]
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


def _read(request: AddRequest) -> tuple[Incoming, str]:
    """Return the content of a source, and who is in its pictures, as for `assign_people`."""
    source = request.source
    if source.is_dir():
        files = list(all_files(source))
        known = recognise([path.parts for path in files], str(source))
        if known is HUGGING_FACE and not is_hugging_face(_as_known(request, files)):
            known = None  # it describes the pictures of class folders
        return _read_folder(request, known, files)
    if not source.is_file():
        raise CallerError(f"no file or folder {source}")
    if source.suffix.lower() == ".csv":
        return _read_csv(request), request.people
    if source.suffix.lower() == ".zip":
        known = recognise(names_in(source), str(source))
        if known and known.needs_files:
            raise CallerError(f"{source} is {known.name} (by {known.mark}): unzip it and add the "
                              "folder")
        labels, people, notes = _by_known(request, known)
        found = read_archive(source, labels, _structure(request, labels), request.any_hash,
                             request.encoding)
        return replace(found, notes=[*notes, *found.notes]), people
    raise CallerError(f"{source}: must be a .zip, a .csv or a folder")


def _read_folder(request: AddRequest, known: KnownSet | None, files: Sequence[Path]
                 ) -> tuple[Incoming, str]:
    source = request.source
    labels, people, notes = _by_known(request, known)
    if known is None or not known.needs_files:
        found = read_folder(source, files, labels, _structure(request, labels))
    elif known is FERPLUS:
        found = read_ferplus(source, files, labels)
    else:
        found = read_known(known, _as_known(request, files, labels))
    return replace(found, notes=[*notes, *found.notes]), people


def _as_known(request: AddRequest, files: Sequence[Path], labels: Labels | None = None) -> Source:
    return Source(request.source, files, labels or read_labels("", request.classes), request.split,
                  _splits(request), _columns(request.columns))


def _by_known(request: AddRequest, known: KnownSet | None) -> tuple[Labels, str, list[str]]:
    """Return the labels, the rule of people and the notes; what the user says comes first."""
    name, people = request.labels, request.people
    if known is None:
        return read_labels(name, request.classes), people, []
    if not name and request.classes == AddRequest.classes:
        name = known.labels
    people = people or known.people
    return read_labels(name, request.classes), people, [
        said(known, request.source.name, name, people)]


def _structure(request: AddRequest, labels: Labels) -> Structure:
    return Structure(request.split, _splits(request),
                     labels if request.people == FOLDER else None)


def _read_csv(request: AddRequest) -> Incoming:
    source, labels = request.source, read_labels(request.labels, request.classes)
    if request.people == FOLDER or _splits(request):
        raise CallerError(f"{source.name} is a table without folders: its columns identity and "
                          "split say what --people folder and --splits would")
    if holds_pixels(source):
        return read_pixels(source, labels, request.split)
    return read_table(source, labels, request.split, _columns(request.columns))


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
