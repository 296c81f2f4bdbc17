"""Who is in the pictures: known or unknown, and never guessed from a file name.

People are known by LFW's names where a split follows LFW's pattern throughout, by the column
`identity` of `pictures.csv`, or because the user said how names give them (`data.py add --people`).
Otherwise they are unknown: the identity is empty, every picture is a unit of its own, and whatever
rests on people warns. The rule of each split is in `dataset.json` (`fer.data.metadata`); a set
without that file (used in place, or added earlier) is judged by its names and its table.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from fer.errors import plural

People = Literal["names", "table", "unknown"]
"""names: file names give those that the table does not; table: only the table; unknown: nobody."""
RULES: tuple[People, ...] = get_args(People)

ENOUGH = 30  # pictures; as few names as classes among them name the classes, not people

_NUMBER = re.compile(r"_\d{4}$")
_TEXT_AFTER = re.compile(r"^(?P<picture>(?P<person>.+?)_\d{4})(?=\D)(?:[ _.-]?\(.*|.*[^\W\d_].*)$")
_LFW = re.compile(r"^[^\W\d_][^_]*(?:_(?=[^_]*[^\W\d_])[^_]+)*$")  # a letter in every part
_TOOL = r"surgical|n95|kn95|cloth|gas|inpaint|bandana|(?:with[ _-]?|face[ _-]?)?mask(?:ed)?"
_MASK_TEXT = re.compile(rf"(?:[ _.-]+(?:{_TOOL})(?:[ _.-]?(?:blue|green|white|black|\d+))*)+$",
                        re.IGNORECASE)
_WORDS = frozenset([
    "img", "image", "images", "photo", "photos", "picture", "pictures", "pic", "pics", "dsc",
    "dscn", "dscf", "pxl", "mvimg", "gopr", "screenshot", "scan", "frame", "frames", "video",
    "clip", "snapshot", "webcam", "camera", "cam", "whatsapp", "file", "data", "dataset",
    "sample", "face", "faces", "crop", "cropped", "aligned", "train", "training", "test",
    "testing", "validation", "eval", "private", "public", "privatetest", "publictest", "real",
    "fake", "synthetic", "original", "mask", "masks", "masked", "unmasked", "no", "with",
    "without", "on", "off", "left", "right", "front", "frontal", "side", "happy", "happiness",
    "sad", "sadness", "angry", "anger", "fear", "disgust", "surprise", "surprised", "contempt",
    "neutral", "positive", "negative", "man", "woman", "boy", "girl"])
"""Names that consist of these name pictures: `Training_1234.jpg`, `Happy_Face_0001.jpg`."""


def normal_form(name: str) -> str:
    """Return a label as it is compared: without case, outer blanks, and Unicode variants."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def person_of(file: str) -> str:
    """Return the person's name in a file name: what is before `_NNNN`; empty without a number.

    Text may follow, as masking tools append it: `Ada_Lovelace_0012_surgical.jpg` shows
    Ada_Lovelace.
    """
    stem = _stem(file)
    if _NUMBER.search(stem):
        return _NUMBER.sub("", stem)
    found = _TEXT_AFTER.match(stem)
    return found["person"] if found else ""


def _stem(file: str) -> str:
    """Return a file name without suffix, composed: macOS decomposes letters with accents."""
    return unicodedata.normalize("NFC", os.path.splitext(file)[0])


def pair_key_of(file: str) -> str:
    """Return the name shared by a picture and its masked copies: without suffix and tool's text."""
    stem = _stem(file)
    if _NUMBER.search(stem):
        return stem
    found = _TEXT_AFTER.match(stem)
    return found["picture"] if found else _MASK_TEXT.sub("", stem) or stem


def follow_lfw(files: Iterable[str], classes: int) -> bool:
    """Return whether all file names are like LFW's, `First_Last_0001.jpg`, and name people.

    Args:
        files: names of a split's pictures.
        classes: number of classes among them.
    """
    names = list(files)
    people = {person_of(file) for file in names}
    if not all(map(_names_a_person, people)):
        return False
    full = sum("_" in person for person in people)
    return 2 * full >= len(people) > 0 and (len(names) < ENOUGH or len(people) > classes)


def _names_a_person(name: str) -> bool:
    if not _LFW.match(name) or name[0].islower():
        return False
    parts = [part.rstrip("0123456789").casefold() for part in name.split("_")]
    words = [part for part in parts if part in _WORDS]
    return not words or any(part not in _WORDS and len(part) > 1 for part in parts)


def people_text(identities: Sequence[str]) -> str:
    """Return a phrase on the people in pictures: `12 people`, `unknown people`, or both."""
    people = len(set(identities) - {""})
    unknown = sum(not identity for identity in identities)
    if not people:
        return "unknown people"
    known = plural(people, "person")
    return f"{known} and {plural(unknown, 'picture')} of unknown people" if unknown else known


def people_warning(split: str, identities: Sequence[str]) -> str:
    """Return what unknown people mean for results on a split, or trained on it; empty if known.

    Args:
        split: such as `real/test`.
        identities: of its pictures; empty where unknown.
    """
    unknown = sum(not identity for identity in identities)
    if not unknown:
        return ""
    part = "the" if unknown == len(identities) else f"{unknown} of {len(identities)}"
    who = f"{split}: who is in {part} pictures is unknown"
    if split.endswith(("/train", "/val")):
        return (f"{who}: one person may be in both train and validation, so scores on validation "
                "may be too high")
    return (f"{who}: each picture counts as a person of its own, so intervals are too narrow "
            "where people repeat")
