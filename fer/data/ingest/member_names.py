"""File names of a zip's members, which older tools store in the encoding of their system.

Without the UTF-8 flag a name is cp437 by the standard, but Japanese Windows writes cp932, in which
the second byte of a character can be 0x5C, the backslash that other tools use as a separator.
"""

import re
import zipfile
from collections.abc import Sequence

from fer.errors import CallerError

UTF8_FLAG = 0x800
_JAPANESE = "[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]"  # no half-width kana


def member_names(file: str, members: Sequence[zipfile.ZipInfo], encoding: str = ""
                 ) -> tuple[list[str], str]:
    """Return the name of each member with `/` as separator, and the encoding used, if any.

    Args:
        file: for messages.
        members: in any order.
        encoding: of names without the UTF-8 flag; empty: UTF-8 or cp932 if all of them
            plausibly are, else cp437.

    Raises:
        CallerError: an unknown encoding, or names that are not in it.
    """
    raw = [info.orig_filename.encode("cp437") if not info.flag_bits & UTF8_FLAG else b""
           for info in members]
    used = ""
    if any(not name.isascii() for name in raw):
        used = encoding or next((guess for guess in ("utf-8", "cp932") if _fits(raw, guess)),
                                "cp437")
    try:
        names = [name.decode(used) if used and name else info.orig_filename
                 for name, info in zip(raw, members, strict=True)]
    except (LookupError, UnicodeDecodeError) as error:
        raise CallerError(f"--encoding {encoding}: not the encoding of the names in {file} "
                          f"({error})") from None
    return [name.replace("\\", "/") for name in names], used


def _fits(names: Sequence[bytes], encoding: str) -> bool:
    """Return whether names are in an encoding; cp932 only with two Japanese characters in a row.

    Almost any bytes are valid cp932: a German umlaut with the letter after it is a character.
    """
    try:
        text = [name.decode(encoding) for name in names]
    except UnicodeDecodeError:
        return False
    if encoding != "cp932":
        return True
    other = set("".join(text)) - set(map(chr, range(128)))
    return (all(re.fullmatch(_JAPANESE, letter) for letter in other)
            and any(re.search(f"{_JAPANESE}{{2}}", name) for name in text))
