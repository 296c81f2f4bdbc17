"""The splits by name, `lfw/train`, `lfw/val`, …, with `val` carved out of `train` by identity.

A set and its twins (same pictures with masks over them) form a family: a person who validates in
one member trains in none. Where the configuration asks for it, train and eval are dealt out anew,
for the whole family. Who goes where is `fer.data.identity_split`; not for contents of files
(`fer.data.digest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from fer.config.run import Data, Resplit
from fer.data.identity_split import fold_identities, split_identities
from fer.data.layout import Picture, class_folders, discover, scan, split_folders
from fer.data.metadata import FILE
from fer.errors import CallerError, choices

DEALT = ("train", "val", "eval")


@dataclass(frozen=True)
class _Place:
    """A data set on disk at one moment; the folders' times make a cached scan go stale."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    times: tuple[int, ...]


def pictures_of(split: str, data: Data, root: Path) -> list[Picture]:
    """Return the pictures of a split, sorted by relative path; `split` is as in `lfw/train`.

    `val` is the set's own `val` folder where it has one. Otherwise whole identities leave `train`
    for it, the same in every member of the family. They are chosen by a hash of (val_seed,
    identity) among the identities that share a rarest class, `val_fraction` of each such group,
    rounded up but never a class's last. Where a member of the family has its own `val` folder, the
    people in it are the ones chosen.

    With `data.resplit`, the people of a family with `eval` folders are dealt out into folds, those
    of its train, val and eval folders together: `eval` is one fold, `val` is carved out of the
    others, `train` is what is left.

    Args:
        split: set and split, joined by a slash.
        data: the configuration's data sets.
        root: folder below which relative set folders lie.

    Raises:
        CallerError: unknown set or split, what `fer.data.layout.scan` refuses, a carved `val` or
            what remains of `train` is empty, or twins that call one picture different people.
    """
    name, _, part = split.partition("/")
    if name not in data.sets:
        raise CallerError(f"no split '{split}': data.sets has no '{name}'; there are: "
                          f"{choices(split_names(data, root))}")
    scanned = _scan(_place(name, data, root))
    if part in DEALT and _is_dealt(name, data, root):
        return _dealt(name, part, data, root)
    if part in scanned and (part != "train" or "val" in scanned):
        return list(scanned[part])
    if part not in ("train", "val") or "train" not in scanned:
        raise CallerError(f"no split '{split}'; there are: {choices(split_names(data, root))}")
    chosen = _val_identities(_family(name, data, root), data.val_fraction, data.val_seed)
    if part == "train":
        pictures = [p for p in scanned["train"] if p.identity not in chosen]
    else:
        pictures = [replace(p, split="val") for p in scanned["train"] if p.identity in chosen]
    if not pictures:
        raise CallerError(f"split '{split}' is empty: of the people in {name}'s train folder "
                          f"{'all' if part == 'train' else 'none'} were chosen for val; "
                          f"give {name} a val folder or change data.val_fraction")
    return pictures


def _is_dealt(name: str, data: Data, root: Path) -> bool:
    """Whether the configuration deals out a set anew: only where its family is tested on."""
    if data.resplit is None or "train" not in _scan(_place(name, data, root)):
        return False
    return any("eval" in _scan(place) for place in _family(name, data, root))


def _dealt(name: str, part: str, data: Data, root: Path) -> list[Picture]:
    """Return the pictures of `train`, `val` or `eval` where these are dealt out anew."""
    assert data.resplit is not None
    family = _family(name, data, root)
    tested, chosen = _dealt_people(family, data.resplit, data.val_fraction, data.val_seed)
    scanned = _scan(_place(name, data, root))
    pool = sorted((p for split in DEALT for p in scanned.get(split, ())), key=lambda p: p.relative)
    where = {True: "eval", False: "train"}
    pictures = [replace(p, split=part) for p in pool if part == (
        "val" if p.identity in chosen else where[p.identity in tested])]
    if not pictures:
        raise CallerError(f"split '{name}/{part}' is empty: data.resplit deals out too few people "
                          f"into {data.resplit.of} folds")
    return pictures


def split_names(data: Data, root: Path) -> list[str]:
    """Return the names of all splits on disk, without looking at pictures."""
    names: set[str] = set()
    for name in data.sets:
        folder = folder_of(name, data, root)
        if folder.is_dir():
            splits = {split for split, _ in split_folders(discover(folder))}
            names |= {f"{name}/{split}" for split in splits}
            dealt = DEALT if _is_dealt(name, data, root) else ("val",)
            names |= {f"{name}/{part}" for part in dealt} if "train" in splits else set()
    return sorted(names)


def folder_of(name: str, data: Data, root: Path) -> Path:
    """Return the absolute folder of a set; it need not exist."""
    return (root / data.sets[name].folder).absolute()


def _family(name: str, data: Data, root: Path) -> tuple[_Place, ...]:
    """Return the places of all sets on disk that descend from the same original."""
    oldest = original_of(name, data)
    kin = sorted(other for other in data.sets if original_of(other, data) == oldest)
    return tuple(_place(other, data, root) for other in kin
                 if other == name or folder_of(other, data, root).is_dir())


def original_of(name: str, data: Data) -> str:
    """Return the set that a set and its twins descend from; itself where it is no twin."""
    seen = [name]
    while (above := data.sets[seen[-1]].twin_of) is not None:
        if above not in data.sets:
            raise CallerError(f"data.sets.{seen[-1]}.twin_of is '{above}', which is no set; "
                              f"there are: {choices(data.sets)}")
        if above in seen:
            raise CallerError(f"data.sets.{seen[-1]}.twin_of: '{above}' is its own twin")
        seen.append(above)
    return seen[-1]


def _place(name: str, data: Data, root: Path) -> _Place:
    folder = folder_of(name, data, root)
    times: list[int] = []
    if folder.is_dir():  # where it is not, the scan says so
        top = discover(folder)
        facts = top / FILE
        times.append(facts.stat().st_mtime_ns if facts.is_file() else 0)
        for place in [top, *(place for _, place in split_folders(top))]:
            times.append(place.stat().st_mtime_ns)
            if place != top:
                times += [cls.stat().st_mtime_ns for cls in class_folders(place)]
    return _Place(name, folder, data.classes, tuple(times))


@lru_cache(maxsize=32)
def _scan(place: _Place) -> Mapping[str, tuple[Picture, ...]]:
    found = scan(place.name, place.folder, place.classes)
    return MappingProxyType({split: tuple(pictures) for split, pictures in found.items()})


@lru_cache(maxsize=32)
def _val_identities(family: tuple[_Place, ...], fraction: float, seed: int) -> frozenset[str]:
    scans = [_scan(place) for place in family]
    _refuse_two_names(family)
    given = frozenset(p.identity for scanned in scans for p in scanned.get("val", ()))
    if given:
        return given
    return split_identities((p for scanned in scans for p in scanned.get("train", ())), fraction,
                            seed)


@lru_cache(maxsize=32)
def _dealt_people(family: tuple[_Place, ...], resplit: Resplit, fraction: float, seed: int
                  ) -> tuple[frozenset[str], frozenset[str]]:
    """Return who is tested on and who validates."""
    _refuse_two_names(family)
    pictures = [p for place in family for split in DEALT for p in _scan(place).get(split, ())]
    folds = fold_identities(pictures, resplit.of, resplit.seed)
    tested = frozenset(identity for identity, fold in folds.items() if fold == resplit.fold)
    return tested, split_identities((p for p in pictures if p.identity not in tested), fraction,
                                    seed)


def _refuse_two_names(family: tuple[_Place, ...]) -> None:
    """Refuse twins that call one picture different people: one would train, the other be tested."""
    people: dict[str, tuple[str, str]] = {}
    for place in family:
        for pictures in _scan(place).values():
            for picture in pictures:
                name, identity = people.setdefault(picture.relative, (place.name, picture.identity))
                if identity != picture.identity:
                    raise CallerError(
                        f"{picture.relative} is {identity} in '{name}' and {picture.identity} in "
                        f"its twin '{place.name}'; give both the same pictures.csv")
