"""Add a data set: choose the reader for a source, and say what came in."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer.data.ingest.archive import ARCHIVES, read_archive
from fer.data.ingest.dataset_writer import Incoming, write_dataset
from fer.data.ingest.folders import read_folder
from fer.data.ingest.label_map import read_labels
from fer.data.ingest.picture_table import read_table
from fer.data.ingest.pixel_csv import holds_pixels, read_pixels
from fer.data.layout import SPLITS
from fer.errors import CallerError, choices


@dataclass(frozen=True)
class AddRequest:
    """What `launch/data.py add` was asked for.

    Attributes:
        source: a zip, a folder or a CSV.
        name: of the set's folder below the data root; empty takes the published archive's.
        split: where pictures go whose source names no split.
        classes: of the set.
        labels: a label map; empty for class names as they are.
        link: links instead of copies.
        any_hash: take an archive that differs from the published one.
    """

    source: Path
    name: str = ""
    split: str = ""
    classes: tuple[str, ...] = ("negative", "neutral", "positive")
    labels: str = ""
    link: bool = False
    any_hash: bool = False


def add(wish: AddRequest, root: Path,
        progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Bring a source into the layout below `root` and return lines that say what came.

    Raises:
        CallerError: what the reader of the source or `write_dataset` refuses.
    """
    if wish.split and wish.split not in SPLITS:
        raise CallerError(f"no split '{wish.split}'; there are: {choices(SPLITS)}")
    incoming = _read(wish)
    name = wish.name or _published(wish.source)
    if not name:
        raise CallerError(f"say what {wish.source.name} shall be called: --as NAME")
    target = set_folder(name, root)
    if not incoming.items:
        raise CallerError(f"{wish.source}: no pictures left; every label is dropped")
    new = write_dataset(incoming, target, wish.link, progress)
    lines = [*incoming.notes]
    for split, counts in sorted(_counts(incoming).items()):
        verb = "added" if split in new else "was there already"
        said = ", ".join(f"{counts[cls]} {cls}" for cls in wish.classes)
        lines.append(f"{name}/{split}: {sum(counts.values())} pictures ({said}) {verb}")
    return lines


def set_folder(name: str, root: Path) -> Path:
    """Return the folder of a set that is to be made.

    Raises:
        CallerError: it would not lie below the data root.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or Path(name) == Path("."):
        raise CallerError(f"--as {name}: a name below FER_DATA, which is {root}")
    return root / name


def _read(wish: AddRequest) -> Incoming:
    labels = read_labels(wish.labels, wish.classes)
    source = wish.source
    if source.is_dir():
        return read_folder(source, labels, wish.split)
    if not source.is_file():
        raise CallerError(f"no file or folder {source}")
    if source.suffix.lower() == ".csv":
        read = read_pixels if holds_pixels(source) else read_table
        return read(source, labels, wish.split)
    if source.suffix.lower() == ".zip":
        return read_archive(source, labels, wish.split, wish.any_hash)
    raise CallerError(f"{source}: a .zip, a .csv or a folder is needed")


def _published(source: Path) -> str:
    return source.stem if source.stem in ARCHIVES else ""


def _counts(incoming: Incoming) -> dict[str, Counter]:
    counts: dict[str, Counter] = {}
    for item in incoming.items:
        counts.setdefault(item.split, Counter())[item.cls] += 1
    return counts
