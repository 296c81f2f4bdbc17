"""What an import leaves out: counted by reason, and refused where it is too much.

Every file of a source is either taken or listed here, so the two add up to the number of files.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fer.data.layout import is_system
from fer.data.picture_format import SUFFIXES, format_of, missing_plugin
from fer.errors import CallerError, plural
from fer.plain_text import is_utf8, printable

MOST = 0.1  # of the pictures of a source may be left out without being told to
SYSTEM = "hidden or system files"
OUTSIDE = "outside class folders"


@dataclass(frozen=True)
class LeftOut:
    """One file that is not taken.

    Attributes:
        said: its name in the source.
        reason: ends `3 files ...`.
        lost: whether a user may miss it: a picture, or a file that is named as one, that nobody
            asked to leave out.
    """

    said: str
    reason: str
    lost: bool = False


def is_system_file(parts: Sequence[str]) -> bool:
    """Return whether a file is hidden, or was written by an operating system beside pictures."""
    return any(map(is_system, parts))


def no_picture(head: bytes, name: str, said: str) -> LeftOut | None:
    """Return why a file is no usable picture by its first bytes; None if it is one."""
    kind, suffix = format_of(head, name), os.path.splitext(name)[1].lower()
    if kind:
        plugin = missing_plugin(kind)
        return LeftOut(said, plugin, lost=True) if plugin else None
    if suffix in SUFFIXES:
        return LeftOut(said, "empty" if not head else
                       f"damaged, or no pictures in spite of their suffix {suffix}", lost=True)
    return LeftOut(said, f"no pictures ({suffix or 'no suffix'})")


def no_text(name: str, said: str) -> LeftOut | None:
    """Return why no table could hold a picture's new name; None if it can."""
    return None if is_utf8(name) else LeftOut(
        printable(said), "with names that are not UTF-8; rename them", lost=True)


def summary(taken: int, left_out: Sequence[LeftOut]) -> str:
    """Return a line that accounts for every file of a source."""
    line = f"{taken} of {plural(taken + len(left_out), 'file')} taken"
    return f"{line}; left out: {_reasons(left_out)}" if left_out else line


def refuse_losses(source: str, taken: int, left_out: Sequence[LeftOut], partial: bool) -> None:
    """Refuse to leave out more than a tenth of a source's pictures.

    Args:
        source: for messages.
        taken: number of pictures.
        partial: accept it.

    Raises:
        CallerError: counts them by reason and says how to accept it.
    """
    lost = [one for one in left_out if one.lost]
    if not partial and len(lost) > MOST * (taken + len(lost)):
        raise CallerError(f"{source}: {len(lost)} of {taken + len(lost)} pictures would be left "
                          f"out: {_reasons(lost)}; mend them, or accept it with --partial")


def _reasons(left_out: Sequence[LeftOut]) -> str:
    counts = Counter(one.reason for one in left_out)
    first = {one.reason: one.said for one in reversed(left_out)}
    return "; ".join(f"{count} {reason}, such as {first[reason]}"
                     for reason, count in counts.most_common())
