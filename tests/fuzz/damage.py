"""Other content in the place of a file's: bytes changed, one value of another type, or all wrong.
"""

import json
import random
from collections.abc import Iterator

import yaml

EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\x7f",
            b"\x00\x00\x00\x80", b"9" * 40, b"[" * 200, b"-1", b"\n", b'"', b",", b"nan",
            b"\x1b[2J")
TEXTS = (
    b"", b"null", b"[]", b"{}", b"0", b'"a"', b"[[]]", b"true", b"1e999", b"{", b"\xff\xfe\x00",
    b"[" * 200_000, b'{"a":' * 100_000, b"9" * 5_000, b'{"schema": 1}', b'{"schema": "1"}',
    b'{"state": []}', b"{\n", b"\n\n\n", b"NaN", b'{"a": NaN}', b"-", b"\x00" * 4096,
    b"x: &a [*a]", b"!!bool x",
)
"""Contents that are wrong for every file."""
VALUES = (None, True, -1, 0, 2**70, 1.5, float("inf"), float("nan"), "", "x", "a" * 100_000, [], {},
          [[]], [None], {"a": {}}, {"": []}, "\x1b[2J\x1b]0;title\x07", "[bold]x[/nope]", "=1+1",
          "../../../etc/passwd", "a\nb", "\ud800", "<script>alert(1)</script>", "a\0b", "9" * 5_000,
          2**63, 1e300, [1, "a"], "-", "2026-99-99")
"""Values of other types and sizes, for one key of a file."""


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Return content with one to four changes: bits, cuts, extreme numbers, repeats, noise."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed) + 1)
        kind = draw.randrange(5)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[place:place + draw.choice((1, 8, 200, len(changed)))]
        elif kind == 2:
            extreme = draw.choice(EXTREMES)
            changed[place:place + len(extreme)] = extreme
        elif kind == 3:
            changed[place:place] = changed[max(0, place - 64):place] * draw.choice((1, 3, 50))
        else:
            changed[place:place] = draw.randbytes(draw.randint(1, 16))
    return bytes(changed)


def changed_content(content: bytes, draw: random.Random) -> bytes:
    """Return other content: wrong as a whole, with one value replaced, cut, or with a byte flipped.
    """
    kind = draw.randrange(4)
    if kind == 0:
        return draw.choice(TEXTS)
    if kind == 1 and content:
        return content[:draw.randrange(len(content))]
    if kind == 2 and content:
        flipped = bytearray(content)
        flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
        return bytes(flipped)
    return with_other_value(content, draw)


def with_other_value(content: bytes, draw: random.Random) -> bytes:
    """Return JSON, JSON lines or YAML with one value, at any depth, replaced or left out."""
    *before, line = content.splitlines(keepends=True) if _is_lines(content) else [content]
    tree = _parsed(line)
    places = list(_places(tree))
    if not places:
        return draw.choice(TEXTS)
    parent, key = draw.choice(places)
    if isinstance(parent, dict) and draw.random() < 0.15:
        del parent[key]
    else:
        parent[key] = draw.choice(VALUES)
    return b"".join([*before, json.dumps(tree).encode()])


def _is_lines(content: bytes) -> bool:
    return content.startswith(b'{"') and content.endswith(b"}\n")


def _parsed(content: bytes) -> object:
    """Return a tree of JSON or YAML; None if it is neither."""
    try:
        return json.loads(content)
    except ValueError:
        pass
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, ValueError):
        return None


def _places(tree: object) -> Iterator[tuple[dict[str, object] | list[object], object]]:
    if isinstance(tree, dict | list):
        for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
            yield tree, key
            yield from _places(value)
