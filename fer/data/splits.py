"""Splits by name (`lfw/train`, `lfw/val`, …), with `val` split off `train` by identity.

A set and its masked copies form a family: a person in the validation split of one member is in the
training split of none. If configured (`data.resplit`), train and eval are split again for the whole
family. The assignment of people is in `fer.data.identity_split`, file contents are in
`fer.data.digest`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from fer.config.person_splits import Folds, Resplit
from fer.config.run import Data, original_of
from fer.data.identity_split import balanced_folds, fold_identities, split_identities
from fer.data.layout import Picture, class_folders, discover, scan, split_folders
from fer.data.metadata import FILE, INFO
from fer.errors import CallerError, choices

DEALT = ("train", "val", "eval")
LEAST_MATCH = 0.1  # of a masked copy's pictures must have an original


@dataclass(frozen=True)
class _Place:
    """A data set on disk; the modification times of its folders invalidate cached scans."""

    name: str
    folder: Path
    classes: tuple[str, ...]
    times: tuple[int, ...]


def pictures_of(split: str, data: Data, root: Path) -> list[Picture]:
    """Return the pictures of a split, sorted by relative path.

    `val` is the set's own `val` folder if it has one. Otherwise whole identities are moved from
    `train` to it, the same in every member of the family. They are chosen by a hash of (val_seed,
    identity), stratified by the rarest class of each identity: `val_fraction` of each stratum,
    rounded up, but never the last identity of a class. If a member of the family has its own `val`
    folder, the people in it are chosen.

    With `data.resplit`, the people in the train, val and eval folders of a family with `eval`
    folders are assigned to folds: `eval` is one fold, `val` is split off the others, and `train` is
    the rest.

    With `data.folds`, the people in train and val are assigned to folds, balanced by class; `val`
    is one of them, and `train` is the others.

    Args:
        split: set and split, joined by a slash, such as `lfw/train`.
        data: the configuration's data sets.
        root: base of relative set folders.

    Raises:
        CallerError: unknown set or split, errors of `fer.data.layout.scan`, an empty `val` or
            `train` after splitting, too few people for the folds, different identities for one
            picture within a family, or a masked copy without its originals.
    """
    name, _, part = split.partition("/")
    if name not in data.sets:
        raise CallerError(f"no split '{split}': data.sets has no '{name}'; there are: "
                          f"{choices(split_names(data, root))}")
    scanned = _scan(_place(name, data, root))
    if part in DEALT and _is_dealt(name, data, root):
        return _dealt(name, part, data, root)
    if data.folds is not None and part in ("train", "val") and "train" in scanned:
        chosen = _fold_of_people(_family(name, data, root), data.folds, data.val_seed)
        pool = sorted((*scanned["train"], *scanned.get("val", ())), key=lambda p: p.relative)
        return [replace(p, split=part) for p in pool if (p.unit in chosen) == (part == "val")]
    if part in scanned and (part != "train" or "val" in scanned):
        return list(scanned[part])
    if part not in ("train", "val") or "train" not in scanned:
        raise CallerError(f"no split '{split}'; there are: {choices(split_names(data, root))}")
    chosen = _val_identities(_family(name, data, root), data.val_fraction, data.val_seed)
    if part == "train":
        pictures = [p for p in scanned["train"] if p.unit not in chosen]
    else:
        pictures = [replace(p, split="val") for p in scanned["train"] if p.unit in chosen]
    if not pictures:
        raise CallerError(f"split '{split}' is empty: of the people in {name}'s train folder "
                          f"{'all' if part == 'train' else 'none'} were assigned to val; "
                          f"give {name} a val folder or change data.val_fraction")
    return pictures


def _is_dealt(name: str, data: Data, root: Path) -> bool:
    """Return whether a set is split again: only if its family has an eval folder."""
    if data.resplit is None or "train" not in _scan(_place(name, data, root)):
        return False
    return any("eval" in _scan(place) for place in _family(name, data, root))


def _dealt(name: str, part: str, data: Data, root: Path) -> list[Picture]:
    """Return the pictures of `train`, `val` or `eval` of a set that is split again."""
    assert data.resplit is not None
    family = _family(name, data, root)
    tested, chosen = _dealt_people(family, data.resplit, data.val_fraction, data.val_seed,
                                   data.folds)
    scanned = _scan(_place(name, data, root))
    pool = sorted((p for split in DEALT for p in scanned.get(split, ())), key=lambda p: p.relative)
    where = {True: "eval", False: "train"}
    pictures = [replace(p, split=part) for p in pool if part == (
        "val" if p.unit in chosen else where[p.unit in tested])]
    if not pictures:
        raise CallerError(f"split '{name}/{part}' is empty: data.resplit has too few people for "
                          f"{data.resplit.of} folds")
    return pictures


def split_names(data: Data, root: Path) -> list[str]:
    """Return the names of all splits on disk, without opening pictures."""
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
    return (root / data.named(name).folder).absolute()


def _family(name: str, data: Data, root: Path) -> tuple[_Place, ...]:
    """Return the places of all sets on disk with the same original.

    Raises:
        CallerError: one of them is not a copy of what it is declared to be.
    """
    original = original_of(name, data)
    members = sorted(other for other in data.sets if original_of(other, data) == original)
    there = [other for other in members
             if other == name or folder_of(other, data, root).is_dir()]
    for other in there:
        _refuse_foreign_copy(other, data, root)
    return tuple(_place(other, data, root) for other in there)


def _place(name: str, data: Data, root: Path) -> _Place:
    folder = folder_of(name, data, root)
    times: list[int] = []
    if folder.is_dir():  # otherwise the scan raises
        top = discover(folder)
        times += [file.stat().st_mtime_ns if file.is_file() else 0
                  for file in (top / FILE, top / INFO)]
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
    given = frozenset(p.unit for scanned in scans for p in scanned.get("val", ()))
    if given:
        return given
    return split_identities((p for scanned in scans for p in scanned.get("train", ())), fraction,
                            seed)


@lru_cache(maxsize=64)
def _fold_of_people(family: tuple[_Place, ...], folds: Folds, seed: int) -> frozenset[str]:
    """Return the identities of a fold of the people in train and val."""
    _refuse_two_names(family)
    return _checked_fold([p for place in family for split in ("train", "val")
                          for p in _scan(place).get(split, ())], folds, seed, family[0])


def _checked_fold(pictures: list[Picture], folds: Folds, seed: int, place: _Place
                  ) -> frozenset[str]:
    """Return a fold of the people in some pictures.

    Raises:
        CallerError: some fold would be empty, or all pictures of a class in one: the runs on the
            others could not be validated, or that run not trained, on it.
    """
    dealt = balanced_folds(pictures, folds.of, seed)
    if len(set(dealt.values())) < folds.of:
        raise CallerError(f"train.folds: {folds.of} folds need as many people; '{place.name}' has "
                          f"{len(dealt)} in train")
    for label, name in enumerate(place.classes):
        if len({dealt[p.unit] for p in pictures if p.label == label}) < 2:
            raise CallerError(f"train.folds: the pictures of class '{name}' in '{place.name}' are "
                              "of too few people: all are in one fold, and its run would have none")
    return frozenset(unit for unit, fold in dealt.items() if fold == folds.fold)


@lru_cache(maxsize=32)
def _dealt_people(family: tuple[_Place, ...], resplit: Resplit, fraction: float, seed: int,
                  parts: Folds | None) -> tuple[frozenset[str], frozenset[str]]:
    """Return the identities of the test fold and of validation."""
    _refuse_two_names(family)
    pictures = [p for place in family for split in DEALT for p in _scan(place).get(split, ())]
    folds = fold_identities(pictures, resplit.of, resplit.seed)
    tested = frozenset(identity for identity, fold in folds.items() if fold == resplit.fold)
    others = [p for p in pictures if p.unit not in tested]
    if parts is not None:
        return tested, _checked_fold(others, parts, seed, family[0])
    return tested, split_identities(others, fraction, seed)


def _refuse_two_names(family: tuple[_Place, ...]) -> None:
    """Refuse different identities for one picture in a family: they could leak into the test."""
    people: dict[str, tuple[str, str]] = {}
    for place in family:
        for pictures in _scan(place).values():
            for picture in pictures:
                name, identity = people.setdefault(picture.place, (place.name, picture.identity))
                if identity != picture.identity:
                    raise CallerError(
                        f"{picture.relative} is {identity or 'an unknown person'} in '{name}' and "
                        f"{picture.identity or 'an unknown person'} in its masked copy "
                        f"'{place.name}'; give both the same pictures.csv and dataset.json")


def _refuse_foreign_copy(name: str, data: Data, root: Path) -> None:
    """Refuse a declared masked copy whose pictures are not those of its original.

    Its people would be others than those of the original, so the same people would be trained on
    and validated on.
    """
    original = data.named(name).twin_of
    if original is None or not folder_of(original, data, root).is_dir():
        return
    masked, plain = _scan(_place(name, data, root)), _scan(_place(original, data, root))
    splits = [split for split in masked if split in plain]
    known = {picture.place for split in splits for picture in plain[split]}
    mine = [picture for split in splits for picture in masked[split]]
    found = sum(picture.place in known for picture in mine)
    if mine and found < LEAST_MATCH * len(mine):
        raise CallerError(
            f"data.sets.{name}.twin_of: {found} of {len(mine)} pictures of '{name}' have an "
            f"original of the same name in '{original}' ({mine[0].relative} has not); name the "
            "files of a masked copy like the originals, or leave out twin_of")
