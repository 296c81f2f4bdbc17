"""Pictures of a folder that a data set contains already: by perceptual hash, or people by name.

A test set that contains training pictures measures memory. Hashes and thresholds are those of
`launch/data.py verify`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from fer.data.layout import Picture
from fer.data.people import follow_lfw, person_of
from fer.data.verify.findings import near_pairs
from fer.data.verify.inspection import inspect_pictures

OWN = "this folder"


def known_pictures(folder: Path, pictures: Sequence[str], others: Sequence[Picture],
                   progress: Callable[[int, int], None] | None = None) -> dict[str, str]:
    """Return the pictures that are known, and why: an equal or alike picture, or the person.

    Args:
        pictures: relative to `folder`.
        others: of the data sets to compare with.
    """
    mine = [Picture(OWN, "", name, folder / name, 0, name) for name in pictures]
    found: dict[str, str] = {}
    looks = inspect_pictures([*mine, *others], progress)
    by_digest: dict[str, str] = {}
    for picture, digest, reason in zip(looks.pictures, looks.digests, looks.reasons, strict=True):
        if picture.set != OWN and not reason:
            by_digest.setdefault(digest, picture.id)
    for picture, digest in zip(looks.pictures, looks.digests, strict=True):
        if picture.set == OWN and digest in by_digest:
            found[picture.relative] = f"equal to {by_digest[digest]}"
    for one, two in near_pairs(looks, lambda name: name):
        if one.set == OWN != two.set:
            found.setdefault(one.relative, f"alike to {two.id}")
    people: dict[str, str] = {}
    for picture in others:
        if picture.identity:
            people.setdefault(picture.identity.casefold(), f"{picture.set}/{picture.split}")
    if follow_lfw([Path(one).name for one in pictures], 0):
        for file in pictures:
            name = person_of(Path(file).name)
            if where := people.get(name.casefold(), ""):
                found.setdefault(file, f"{name} is the name of a person of {where}")
    return dict(sorted(found.items()))
