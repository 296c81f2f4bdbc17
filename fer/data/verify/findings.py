"""Possible problems of data sets, as pure functions of their listing and inspection."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.data.layout import Picture
from fer.data.verify.inspection import Inspection
from fer.errors import plural

NEAR_BITS = 24  # maximum distance of the hashes (256 bits) of two copies of a picture
NEAR_CORRELATION = 0.98  # minimum correlation of their grey thumbnails
SAME_PERSON = 0.995  # the same for two pictures of one person: under a mask, only the eyes differ
FEATURELESS = 60.0  # norm of a centred grey thumbnail below which the picture is blank
ROWS, COLUMNS = 64, 4096  # pictures compared with each other at once
EXAMPLES = 12


@dataclass(frozen=True)
class Finding:
    """One possible problem.

    Attributes:
        kind: such as `damaged` or `people in two splits`.
        where: the set or split, or two of them.
        count: number of pictures or people.
        text: a sentence.
        examples: some of them.
        grave: whether it would bias results on these sets; otherwise it is for information.
    """

    kind: str
    where: str
    count: int
    text: str
    examples: tuple[str, ...] = ()
    grave: bool = True


Expected = Mapping[str, Mapping[str, int] | int]
Splits = Mapping[str, Sequence[Picture]]
"""`lfw/train` -> its pictures, including those of `val`."""


def counts(splits: Splits, classes: tuple[str, ...], expected: Mapping[str, Expected]
           ) -> list[Finding]:
    """Compare pictures per class with published sets; `expected` maps set names to counts."""
    found = []
    for split, pictures in splits.items():
        name, _, part = split.partition("/")
        wanted = expected.get(name, {}).get(part)
        if wanted is None:
            continue
        have = Counter(classes[picture.label] for picture in pictures)
        differs = len(pictures) != wanted if isinstance(wanted, int) else dict(have) != dict(wanted)
        if differs:
            found.append(Finding(
                "other counts", split, len(pictures),
                f"has {_text(dict(have))}, expected {_text(wanted)} (inferred from publications)",
                grave=False))
    return found


def _text(wanted: Mapping[str, int] | int) -> str:
    if isinstance(wanted, int):
        return f"{wanted} pictures"
    return ", ".join(f"{count} {cls}" for cls, count in sorted(wanted.items()))


def damaged(looks: Inspection) -> list[Finding]:
    """Find unusable pictures, and files whose format differs from their suffix."""
    bad = [(picture, reason) for picture, reason in zip(looks.pictures, looks.reasons, strict=True)
           if reason]
    other = [(picture, f"is {kind}") for picture, kind in
             zip(looks.pictures, looks.formats, strict=True) if kind]
    return [*_by_split("damaged", bad, "unusable and left out of packs", False),
            *_by_split("other format", other, "with a format other than the suffix", False)]


def _by_split(kind: str, found: Iterable[tuple[Picture, str]], text: str, grave: bool
              ) -> list[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for picture, problem in found:
        groups[f"{picture.set}/{picture.split}"].append(f"{picture.id}: {problem}")
    return [Finding(kind, split, len(lines), f"{_pictures(len(lines))} {text}",
                    tuple(lines[:EXAMPLES]), grave) for split, lines in groups.items()]


def _pictures(count: int) -> str:
    return f"{count} picture{'s' if count != 1 else ''}"


def exact_duplicates(looks: Inspection) -> list[Finding]:
    """Find files with equal bytes, in two splits or within one, with equal or different labels."""
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture, digest, reason in zip(looks.pictures, looks.digests, looks.reasons, strict=True):
        if not reason:  # damaged pictures are reported separately
            groups[digest].append(picture)
    pairs = [(group[0], other) for group in groups.values() for other in group[1:]]
    return _pairs("equal", pairs)


def near_duplicates(looks: Inspection, original_of: Callable[[str], str]) -> list[Finding]:
    """Find near-duplicates: copies that were saved again or resized; blank pictures are skipped.

    A picture and its masked copy are expected to be similar, and equal files are found already.
    Within a split, which may contain several pictures of a person, only pairs with different labels
    are reported.

    Args:
        original_of: set name -> the original of its family.
    """
    return _pairs("alike", near_pairs(looks, original_of))


def near_pairs(looks: Inspection, original_of: Callable[[str], str]
               ) -> list[tuple[Picture, Picture]]:
    """Return the pairs that `near_duplicates` reports, each in the order of `looks`."""
    pairs = []
    flat = looks.thumbs.reshape(len(looks.thumbs), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    usable = np.flatnonzero([not reason for reason in looks.reasons] & (length[:, 0] > FEATURELESS))
    flat /= np.maximum(length, 1e-6)
    groups = np.unique([f"{picture.set}/{picture.split} {picture.label}"
                        for picture in looks.pictures], return_inverse=True)[1]
    for left, right in _near_prints(looks.prints[usable], groups[usable]):
        left, right = int(usable[left]), int(usable[right])
        pair = looks.pictures[left], looks.pictures[right]
        if (looks.digests[left] != looks.digests[right] and not _twins(*pair, original_of)
                and flat[left] @ flat[right] >= _least_correlation(*pair)):
            pairs.append(pair)
    return pairs


def _near_prints(prints: NDArray[np.uint64], groups: NDArray[np.intp]
                 ) -> Iterator[tuple[int, int]]:
    """Yield the pairs of two groups whose hashes differ in at most `NEAR_BITS` bits, sorted.

    Half of a hash rules almost all pairs out, and blocks fit into the cache of a core: together
    this takes a tenth of the time of comparing whole hashes row by row.

    Args:
        prints: (N, 4).
        groups: (N,), of set, split and label.
    """
    words = np.ascontiguousarray(prints.T)
    for top in range(0, len(prints), ROWS):
        found: list[tuple[int, int]] = []
        for first in range(top, len(prints), COLUMNS):
            one, two = words[:2, top : top + ROWS, None], words[:2, None, first : first + COLUMNS]
            some = _differing(one, two) <= NEAR_BITS
            left, right = np.divmod(np.flatnonzero(some), some.shape[1])  # faster than nonzero
            left, right = left + top, right + first
            other = (groups[left] != groups[right]) & (left < right)
            left, right = left[other], right[other]
            near = _differing(words[:, left], words[:, right]) <= NEAR_BITS
            found += zip(left[near].tolist(), right[near].tolist(), strict=True)
        yield from sorted(found)


def _least_correlation(one: Picture, two: Picture) -> float:
    """Return the correlation from which two pictures are taken for copies of one.

    Masked pictures of one person are alike without being copies; copies that were saved again,
    even at half the size, correlate at 0.995 and more.
    """
    within = (one.set, one.split) == (two.set, two.split)
    return SAME_PERSON if within and one.identity == two.identity else NEAR_CORRELATION


def _twins(one: Picture, two: Picture, original_of: Callable[[str], str]) -> bool:
    """Return whether two pictures are the same one with and without a mask."""
    return (one.set != two.set and one.split == two.split and one.pair_key == two.pair_key
            and original_of(one.set) == original_of(two.set))


def _differing(one: NDArray[np.uint64], two: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the Hamming distances of hashes whose words are along the first axis; below 256."""
    total = np.bitwise_count(one[0] ^ two[0])
    for left, right in zip(one[1:], two[1:], strict=True):
        total += np.bitwise_count(left ^ right)
    return total


def _pairs(kind: str, pairs: Iterable[tuple[Picture, Picture]]) -> list[Finding]:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    contradict: Counter[tuple[str, ...]] = Counter()
    for one, two in pairs:
        where = tuple(sorted({f"{one.set}/{one.split}", f"{two.set}/{two.split}"}))
        groups[where].append(f"{one.id} = {two.id}")
        contradict[where] += one.label != two.label
    found = []
    for where, lines in sorted(groups.items()):
        other = "another split" if len(where) > 1 else "the same split"
        text = f"{_pictures(len(lines))} {kind} to one in {other}"
        if contradict[where]:
            text += f", {contradict[where]} of them with a different label"
        found.append(Finding(f"{kind} pictures", " and ".join(where), len(lines), text,
                             tuple(lines[:EXAMPLES]), len(where) > 1 or contradict[where] > 0))
    return found


def shared_people(splits: Splits, original_of: Callable[[str], str]) -> list[Finding]:
    """Find people in the training folder of a set and in a test split of its family.

    People of one name in other sets need not be the same: they are no grave finding.

    Args:
        original_of: set name -> the original of its family.
    """
    found = []
    for train, pictures in splits.items():
        if not train.endswith("/train"):
            continue
        people = {picture.identity for picture in pictures} - {""}
        for other, tested in splits.items():
            family = original_of(train.split("/")[0]) == original_of(other.split("/")[0])
            if other.endswith("/train"):
                continue
            known = [picture for picture in tested if picture.identity in people]
            if not known:
                continue
            names = sorted({picture.identity for picture in known})
            who = f"{plural(len(names), 'person')} of {other}"
            found.append(Finding(
                "people in two splits" if family else "equal names", f"{train} and {other}",
                len(names), f"{who} ({_pictures(len(known))} of {len(tested)}) "
                + (f"are also in {train}" if family else
                   f"have names of {train}: if they are the same people, results are biased"),
                tuple(names[:EXAMPLES]), grave=family))
    return found


def unpaired(splits: Splits, twin_of: Mapping[str, str]) -> list[Finding]:
    """Find masked pictures without an original, originals without a masked copy, and other labels.

    Args:
        twin_of: set name -> the set of which it is a masked copy.
    """
    found = []
    for split, pictures in splits.items():
        name, _, part = split.partition("/")
        original = f"{twin_of.get(name, '')}/{part}"
        if original not in splits:
            continue
        mine, theirs = _lacking(pictures, splits[original]), _lacking(splits[original], pictures)
        other = {p.pair_key for p in mine} & {p.pair_key for p in theirs}
        where = f"{split} and {original}"
        for lines, kind, text in (
            ([p.id for p in mine if p.pair_key not in other], "no original",
             f"of {split} without a picture of that name in {original}"),
            ([p.id for p in theirs if p.pair_key not in other], "no twin",
             f"of {original} without a masked copy in {split}"),
        ):
            if lines:
                found.append(Finding(kind, where, len(lines), f"{_pictures(len(lines))} {text}",
                                     tuple(lines[:EXAMPLES]), False))
        if other:
            lines = [p.id for p in mine if p.pair_key in other]
            found.append(Finding("other label", where, len(lines),
                                 f"{_pictures(len(lines))} with another label than the masked copy",
                                 tuple(lines[:EXAMPLES])))
    return found


def _lacking(these: Sequence[Picture], those: Iterable[Picture]) -> list[Picture]:
    """Return the pictures of which `those` have none with the same label and pair key."""
    there = {(picture.label, picture.pair_key) for picture in those}
    return [picture for picture in these if (picture.label, picture.pair_key) not in there]
