"""Which compressions a Parquet file names in its footer.

pyarrow (26) ends the whole process if it is asked for the columns of a file whose statistics are
damaged, so the footer is read here: a struct in Thrift's compact protocol (apache/thrift,
doc/specs/thrift-compact-protocol.md), with the numbers of parquet.thrift.
"""

from typing import Any

MAGIC = b"PAR1"
ROW_GROUPS, COLUMNS, META_DATA, CODEC = 4, 1, 3, 4  # fields of nested structs
UNCOMPRESSED, SNAPPY = 0, 1
DEEPEST = 16
TRUE, FALSE, BYTE, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 6, 7, 8, 9, 10, 11, 12


def compressions(content: bytes) -> set[int]:
    """Return the codecs of all columns of a Parquet file; a `ValueError` if it is damaged."""
    if content[-4:] != MAGIC:
        raise ValueError("no footer")
    size = int.from_bytes(content[-8:-4], "little")
    try:
        footer = _Reader(content[-8 - size:-8]).struct(0)
        return {int(chunk[META_DATA][CODEC]) for group in footer[ROW_GROUPS]
                for chunk in group[COLUMNS]}
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"a damaged footer ({type(error).__name__})") from None


class _Reader:
    """Position in a text of the compact protocol."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the fields of a struct by their numbers; the last of a number counts."""
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else _signed(self._varint())
            found[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if kind == STRUCT:
            return self.struct(depth)
        if kind in (LIST, SET):
            head = self._byte()
            count = self._varint() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(self._bounded(count))]
        if kind == MAP:
            count = self._bounded(self._varint())
            kinds = self._byte() if count else 0
            return [(self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1))
                    for _ in range(count)]
        if kind == BINARY:
            return self._skip(self._varint())
        if kind == DOUBLE:
            return self._skip(8)
        if kind in (TRUE, FALSE, BYTE):
            return self._byte()
        if kind <= I64:
            return _signed(self._varint())
        raise ValueError(f"a value of type {kind}")

    def _bounded(self, count: int) -> int:
        """Return a count of values, of which each has a byte or more."""
        if count > len(self.content) - self.place:
            raise ValueError("more values than bytes")
        return count

    def _skip(self, count: int) -> None:
        self.place += self._bounded(count)

    def _byte(self) -> int:
        self.place += 1
        return self.content[self.place - 1]

    def _varint(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 128:
            found |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return found | byte << shift


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
