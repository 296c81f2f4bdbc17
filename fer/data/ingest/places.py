"""Where pictures go that lie in split and class folders, however deep below the top.

The same for members of a zip and files of a folder: works on paths, opens nothing.
"""

from collections.abc import Iterable, Sequence

from fer.data.layout import SPLITS
from fer.errors import CallerError

Parts = tuple[str, ...]
Place = tuple[str, str, str]  # split, label (the class folder's name), file name


def place_all(paths: Sequence[Parts], split: str, source: str
              ) -> tuple[dict[Parts, Place], list[Parts]]:
    """Return (path -> its place, the paths that lie in no class folder).

    Args:
        paths: of pictures, below the source.
        split: where they go if there are class folders only; empty: the folder above the class
            folder is the split.
        source: for messages.

    Raises:
        CallerError: no picture lies in a class folder, or more than one data set is there.
    """
    placed = {parts: place for parts in paths if (place := _place(parts, split)) is not None}
    if not placed:
        raise CallerError(f"{source}: {_expected(split)}; found: {_found(paths)}")
    tops = sorted({parts[: -2 if split else -3] for parts in placed})
    if len(tops) > 1:
        names = ", ".join("/".join(top) or "." for top in tops[:4])
        raise CallerError(f"{source} holds more than one data set: {names}; add them one by one")
    return placed, [parts for parts in paths if parts not in placed]


def _place(parts: Parts, split: str) -> Place | None:
    if split:
        return (split, parts[-2], parts[-1]) if len(parts) >= 2 else None
    if len(parts) < 3 or parts[-3].lower() not in SPLITS:
        return None
    return parts[-3].lower(), parts[-2], parts[-1]


def _expected(split: str) -> str:
    if split:
        return "expected a folder for each class with pictures in it"
    return (f"expected SPLIT/CLASS/picture with a split of {', '.join(SPLITS)}; for class folders "
            "only, say --split")


def _found(paths: Iterable[Parts]) -> str:
    seen = sorted({"/".join(parts[:-1]) or "pictures directly in it" for parts in paths})
    return ", ".join(seen[:6]) + (", …" if len(seen) > 6 else "") if seen else "no pictures"
