"""Tables as plain values, rendered by the page and the Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fer.evaluate.intervals import Interval
from fer.report.formatting import NONE, points, score

MOST_ROWS = 400  # sorts and filters instantly in a browser; the CSV file has all
MISSING = -1e9  # sort key of an empty cell, below all numbers; JSON has no infinities


@dataclass(frozen=True)
class Column:
    """A column head; `note` is printed below it in small type, numbers are right-aligned."""

    name: str
    note: str = ""
    number: bool = False


@dataclass(frozen=True)
class Field:
    """One cell: text, sort key, link and style.

    Attributes:
        key: numeric sort key; None sorts by the text.
        look: `strong`, or `good` or `plain` for a chip; empty for plain text.
        opens: what the row of this first cell opens to; empty for nothing.
    """

    text: str
    key: float | None = None
    link: str = ""
    look: str = ""
    opens: str = ""


@dataclass(frozen=True)
class Listing:
    """A table; every row has one field per column."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]
    notes: tuple[str, ...] = ()


def text(value: object) -> Field:
    """Return a text field."""
    return Field(str(value))


def number(value: float | None, digits: int = 2) -> Field:
    """Return a number field; integers have thousands separators, None is a dash."""
    if value is None:
        return Field(NONE, MISSING)
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"
    return Field(shown.replace("-", "−"), float(value))


def scored(one: Interval | None) -> Field:
    """Return a score field with its interval."""
    return Field(score(one), _key(one))


def apart(one: Interval | None, look: str = "") -> Field:
    """Return a field for a difference in points with its interval."""
    return Field(points(one), _key(one), look=look)


def p_value(p: float | None) -> Field:
    """Return a p-value field."""
    if p is None:
        return Field(NONE, 2.0)
    return Field("< 0.001" if p < 0.001 else f"{p:.3f}", p)


def listing(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Field]],
            notes: Sequence[str] = ()) -> Listing:
    """Return a table, checking that its rows fit its columns."""
    assert all(len(row) == len(columns) for row in rows), caption
    return Listing(caption, tuple(columns), tuple(map(tuple, rows)), tuple(notes))


def capped(table: Listing, file: str, by: int | None = None, rising: bool = False) -> Listing:
    """Return a table of at most `MOST_ROWS` rows, with a note on where all of them are.

    Args:
        file: the file with all rows.
        by: the column whose largest values are kept; None keeps the first rows.
        rising: whether to keep the smallest values instead.
    """
    if len(table.rows) <= MOST_ROWS:
        return table
    rows, which = list(table.rows), "first"
    if by is not None:
        def place(row: tuple[Field, ...]) -> float:
            key = row[by].key
            return (1 if rising else -1) * (MISSING if key is None else key)

        rows.sort(key=place)
        which = f"{'lowest' if rising else 'highest'} in {table.columns[by].name}"
    note = f"{MOST_ROWS} of {len(rows):,} rows, the {which}; all are in {file}."
    return replace(table, rows=tuple(rows[:MOST_ROWS]), notes=(*table.notes, note))


def _key(one: Interval | None) -> float:
    return MISSING if one is None or one.value is None else one.value
