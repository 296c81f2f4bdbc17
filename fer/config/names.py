"""Values that strangers' files bring too: names of classes, and options of small architectures."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from fer.config.base import LONGEST_NAME
from fer.plain_text import shortened

MOST_BLOCKS, MOST_CHANNELS = 64, 8192  # of a stage of a small architecture
DEPTHS = ("blocks", "mask_depths", "depth", "depths")
WORD = re.compile(r"[A-Za-z0-9_]{1,40}")  # such as the name of a pooling
Option = bool | int | float | str | list[int]


def _folder_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes, which are names of folders; raise a `ValueError` if they cannot be."""
    if len(set(classes)) != len(classes):
        raise ValueError("two classes have the same name")
    for name in classes:
        if not 0 < len(name) <= LONGEST_NAME or "/" in name or not name.isprintable():
            raise ValueError(f"{shortened(name)!r} cannot be the name of a class")
    return classes


def _buildable(options: dict[str, Option]) -> dict[str, Option]:
    """Return the options, which bound the size of a network; raise a `ValueError` if they do not.
    """
    for name, value in options.items():
        if isinstance(value, str):
            if not WORD.fullmatch(value):
                raise ValueError(f"option '{shortened(name)}': {shortened(value)!r} is no word")
            continue
        numbers = value if isinstance(value, list) else [value]
        most = MOST_BLOCKS if name in DEPTHS else MOST_CHANNELS
        least = 0 if name == "mask_depths" or not isinstance(value, list) else 1
        if len(numbers) > MOST_BLOCKS or not all(least <= one <= most for one in numbers):
            raise ValueError(f"option '{shortened(name)}': numbers from {least} to {most}, at most "
                             f"{MOST_BLOCKS} of them")
    return options


ClassNames = Annotated[tuple[str, ...], Field(min_length=2), AfterValidator(_folder_names)]
Options = Annotated[dict[str, Option], AfterValidator(_buildable)]
