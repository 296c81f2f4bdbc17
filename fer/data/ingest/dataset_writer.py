"""Atomic writing of a data set below the data root.

Every kind of source (`archive`, `folders`, `picture_table`, `pixel_csv`) is read into an
`Incoming`; `write_dataset` writes it split by split. A split's folder appears by one rename and
contains a record of its origin. An interrupted call leaves nothing incomplete, and a repeated call
changes nothing.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

from fer.atomic_io import building_folder, write_json
from fer.data.ingest.left_out import LeftOut
from fer.data.layout import discover, split_folders
from fer.data.metadata import Facts, read_facts, read_people, write_facts, write_people
from fer.data.pack import only_builder
from fer.data.people import People
from fer.errors import CallerError
from fer.untrusted_io import read_json

RECORD = ".added.json"  # hidden, so the layout ignores it
THREADS, JOB_PICTURES = 4, 32  # that copy pictures; by one of them at once
ROOM = 1.05  # required free space, relative to the pictures' size

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Item:
    """One picture to import.

    Attributes:
        split, cls, name: target split folder, class folder and file name.
        size: bytes.
        said: its name in the source, for messages.
        copy: writes it to a path.
        facts: what is known besides its label.
        path: its current location, if it is a file that can be linked to.
        stamp: returns a value that differs if the content does; None if names decide.
    """

    split: str
    cls: str
    name: str
    size: int
    said: str
    copy: Callable[[str], None]
    facts: Facts = field(default_factory=Facts)
    path: Path | None = None
    stamp: Callable[[], object] | None = None

    @property
    def place(self) -> str:
        """Path below the set's folder."""
        return f"{self.split}/{self.cls}/{self.name}"


@dataclass(frozen=True)
class Incoming:
    """The content of a source.

    Attributes:
        source: its name, for the record.
        items: the pictures.
        notes: lines for the user.
        digest: of an archive or a table, if the source is one file.
        left_out: the other files of the source.
        people: how the people of each split are known; empty: by the names and the table.
    """

    source: str
    items: Sequence[Item]
    notes: Sequence[str] = ()
    digest: str = ""
    left_out: Sequence[LeftOut] = ()
    people: Mapping[str, People] = field(default_factory=dict)


def write_dataset(incoming: Incoming, target: Path, link: bool = False,
                  progress: Progress | None = None) -> list[str]:
    """Write the incoming pictures below `target` and return the new splits.

    Args:
        target: the folder of the data set; other splits may exist already.
        link: create symbolic links instead of copies.
        progress: called with (pictures done, total).

    Raises:
        CallerError: two pictures with one target, one name in two classes, not enough disk space,
            or an existing split from another source.
    """
    refuse_collisions(incoming.items)
    if link and any(item.path is None for item in incoming.items):
        raise CallerError(f"{incoming.source}: pictures inside one file cannot be linked to; "
                          "leave out --link")
    by_split: dict[str, list[Item]] = {}
    for item in sorted(incoming.items, key=lambda item: item.place):
        by_split.setdefault(item.split, []).append(item)
    with only_builder(target):
        _remove_orphans(target)
        _refuse_other_layout(target, by_split)
        records = {split: _record(incoming, items, link) for split, items in by_split.items()}
        new = [split for split, record in records.items() if not _is_there(target, split, record)]
        coming = [item for split in new for item in by_split[split]]
        if not link:
            _require_room(target, sum(item.size for item in coming))
        if not coming:
            return []
        write = _Writer(link, len(coming), progress)
        if not target.exists():
            with building_folder(target) as folder:
                write_facts(folder, _facts(coming))
                write_people(folder, incoming.people)
                for split in new:
                    write.split(folder / split, by_split[split], records[split])
            return new
        with ExitStack() as staged:  # all splits are written before the first appears
            for split in new:
                folder = staged.enter_context(building_folder(target / split))
                write.split(folder, by_split[split], records[split])
            kept = {file: facts for file, facts in read_facts(target).items()
                    if file.split("/")[0] not in new}
            write_facts(target, {**kept, **_facts(coming)})
            said = {split: rule for split, rule in incoming.people.items() if split in new}
            write_people(target, {**read_people(target), **said})
    return new


def _remove_orphans(target: Path) -> None:
    """Remove temporary folders that killed calls left in an existing set."""
    for orphan in target.glob(".*.tmp-*") if target.is_dir() else ():
        shutil.rmtree(orphan, ignore_errors=True)


def _refuse_other_layout(target: Path, splits: Iterable[str]) -> None:
    """Refuse to add to a set whose split folders have another location or other names.

    Raises:
        CallerError: a split would exist twice under different names.
    """
    if not target.is_dir() or not any(target.iterdir()):
        return
    top = discover(target)
    there = {split: place.name for split, place in split_folders(top)}
    others = [there[split] for split in splits if there.get(split, split) != split]
    if top != target or others:
        raise CallerError(f"{target} was not created by this command: its splits are "
                          f"{', '.join(str(top / name) for name in there.values())}; name another "
                          "set with --as, or rename them")


def refuse_collisions(items: Iterable[Item]) -> None:
    """Refuse two pictures with the same target, and one picture in two classes of a split.

    Different pictures of one name in several classes are fine (`im0.jpg` in every class).

    Raises:
        CallerError: names both pictures.
    """
    places: dict[str, Item] = {}
    names: dict[tuple[str, str, int], list[Item]] = {}
    for item in items:
        twin = places.setdefault(item.place.lower(), item)
        if twin is not item:
            raise CallerError(f"two pictures with the same name: {twin.said} and {item.said} would "
                              f"both be {item.place}; rename one")
        same = names.setdefault((item.split, item.name.lower(), item.size), [])
        for other in same:
            if other.stamp and item.stamp and other.stamp() == item.stamp():
                raise CallerError(f"a picture in two classes of {item.split}: {other.said} and "
                                  f"{item.said}; remove one")
        same.append(item)


class _Writer:
    """Writes splits and reports progress."""

    def __init__(self, link: bool, total: int, progress: Progress | None) -> None:
        self.link, self.total, self.progress = link, total, progress
        self.done = 0

    def split(self, folder: Path, items: Sequence[Item], record: Mapping) -> None:
        """Write the folder of one split, its record last."""
        for cls in sorted({item.cls for item in items}):
            (folder / cls).mkdir(parents=True)
        # on a network file system latency dominates; a zip is read by one thread
        threads = THREADS if all(item.path for item in items) else 1
        jobs = [items[start : start + JOB_PICTURES] for start in range(0, len(items), JOB_PICTURES)]
        with ThreadPoolExecutor(threads) as pool:
            for written in pool.map(partial(self._pictures, folder), jobs):
                self.done += written
                if self.progress:
                    self.progress(self.done, self.total)
        write_json(folder / RECORD, record)

    def _pictures(self, folder: Path, items: Sequence[Item]) -> int:
        for item in items:
            place = os.path.join(folder, item.cls, item.name)
            if self.link:
                assert item.path is not None
                os.symlink(item.path.absolute(), place)
            else:
                item.copy(place)
        return len(items)


def _facts(items: Iterable[Item]) -> dict[str, Facts]:
    none = Facts()
    return {item.place: item.facts for item in items if item.facts != none}


def _record(incoming: Incoming, items: Sequence[Item], link: bool) -> dict:
    text = lru_cache(None)(lambda facts: f"{facts}{facts.more or ''}")  # most pictures have none
    listing = "\n".join([incoming.digest, *(
        f"{item.place}\0{item.size}\0{text(item.facts)}" for item in items)])
    return {"source": incoming.source, "digest": incoming.digest,
            "how": "linked" if link else "copied", "pictures": len(items),
            "classes": dict(sorted(Counter(item.cls for item in items).items())),
            "listing": sha256(listing.encode()).hexdigest()}


def read_record(split_folder: Path) -> dict:
    """Return the record of a split's origin; empty if it was not added by this project."""
    with suppress(OSError, ValueError):
        found = read_json(split_folder / RECORD)
        return found if isinstance(found, dict) else {}
    return {}


def _is_there(target: Path, split: str, record: Mapping) -> bool:
    folder = target / split
    if not folder.exists():
        return False
    found = read_record(folder)
    if found.get("listing") == record["listing"]:
        return True
    origin = f"came from {found['source']}" if found else "was not added by this command"
    raise CallerError(f"{folder} exists already and {origin}; name another set with --as, or "
                      "remove it")


def _require_room(target: Path, size: int) -> None:
    place = target
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size * ROOM > free:
        raise CallerError(f"not enough disk space for {target}: {size / 1e6:.0f} MB are needed and "
                          f"{free / 1e6:.0f} MB are free; FER_DATA can be on another disk")
