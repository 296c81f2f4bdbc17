"""Text of strangers (names, errors, labels) for a terminal, a spreadsheet or a script.

Whatever stands in a store may have been written by somebody else: escape sequences would change a
terminal, `=` begins a formula in a spreadsheet, and a line break ends a comment in a script.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

LONGEST = 200  # characters of a stranger's text within a message
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_FORMULA = tuple("=+-@\t\r")


def without_controls(text: str) -> str:
    """Return a text with its control characters visible (`\\x1b`); line breaks and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def has_controls(text: str) -> bool:
    """Return whether a text has line breaks or other control characters."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)


def one_line(text: str) -> str:
    """Return a text as one line without control characters."""
    return without_controls(" ".join(text.split()))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return a text as one line of at most `longest` characters."""
    line = one_line(text)
    return line if len(line) <= longest else f"{line[:longest - 1]}…"


def spreadsheet_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: `'` before `=`, `+`, `-` and `@`.

    Numbers stay, and so does a lone dash.
    """
    if not text.startswith(_FORMULA) or len(text) == 1:
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]], exact: bool = False) -> str:
    """Return a table as CSV with a line of column names.

    Args:
        exact: for a table that this project reads again: texts that look like formulas stay as
            they are, since one may be the name of a file.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows if exact else (
        [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row]
        for row in rows))
    return out.getvalue()


def is_utf8(name: str) -> bool:
    """Return whether a file name is UTF-8: others cannot be written to a table."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(name: str) -> str:
    """Return a file name that UTF-8 can hold: bytes that are not UTF-8 become `\\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
