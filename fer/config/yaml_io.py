"""Untyped configuration: YAML files, nested dictionaries and dotted keys."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from fer.errors import CallerError
from fer.plain_text import shortened
from fer.untrusted_io import read_bytes

Tree = dict[str, Any]
MAX_CHARACTERS = 2_000_000
MAX_NODES = 200_000  # values of one file, aliases written out

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, if available


class _StrictLoader(_SafeLoader):
    """A safe loader that rejects duplicate keys, of which PyYAML silently keeps the last.

    As in YAML 1.2, only `true` and `false` are booleans (`on` is a key of a study), `1e-4` is a
    number, and `16:30`, `1_000` and dates are text. So is `0123`, where the zero means something.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; raise a `YAMLError` at a key that is no word, or appears twice."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self._key(key_node)
            if key in seen:
                raise _at(key_node, f"duplicate key '{shortened(str(key))}'")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _key(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:merge":
            raise _at(node, "merge keys (<<) are not read; write the keys out")
        key = self.construct_object(node) if isinstance(node, yaml.ScalarNode) else None
        if key is None or isinstance(key, bool):
            raise _at(node, "a key must be a word or a number")
        return key


def _at(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _TextLoader(_StrictLoader):
    """A strict loader whose plain values stay text as typed, but for `null`."""


_BOOL, _INT, _FLOAT, _DATE = (f"tag:yaml.org,2002:{name}"
                              for name in ("bool", "int", "float", "timestamp"))
for _loader in (_StrictLoader, _TextLoader):
    _loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers
                if tag not in (_BOOL, _INT, _FLOAT, _DATE)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
_StrictLoader.add_implicit_resolver(
    _BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_StrictLoader.add_implicit_resolver(
    _INT, re.compile(r"^(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$"), list("-+0123456789"))
_StrictLoader.add_implicit_resolver(
    _FLOAT, re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
                       r"|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"), list("-+0123456789."))


def parse_yaml(text: str, place: str, as_text: bool = False) -> Any:
    """Return the value of a YAML text; raise a `CallerError` with `place` and line if invalid.

    Aliases are read, but no more than `MAX_NODES` values once they are written out.

    Args:
        as_text: whether numbers and booleans stay text as typed.
    """
    if len(text) > MAX_CHARACTERS:
        raise CallerError(f"{shortened(place)}: more than {MAX_CHARACTERS:,} characters of YAML")
    try:
        return _constructed(text, _TextLoader if as_text else _StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise CallerError(f"{shortened(place)}{line}: not valid YAML: {problem}") from None
    except RecursionError:
        raise CallerError(f"{shortened(place)}: not valid YAML: nested too deeply") from None
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        # PyYAML's constructors of explicit tags: `!!bool x`, `!!timestamp 2026-99-99`
        raise CallerError(f"{shortened(place)}: not valid YAML: a value does not fit its tag or is "
                          f"too long ({shortened(str(error))})") from None


def _constructed(text: str, kind: type[_StrictLoader]) -> Any:
    loader = kind(text)  # a SafeLoader: no objects
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_expansion(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_expansion(root: yaml.Node) -> None:
    """Raise a `YAMLError` if aliases make a loop, or more than `MAX_NODES` values in all.

    A few lines of aliases of aliases stand for millions of values.
    """
    sizes: dict[int, int] = {}  # of finished nodes; 0 while a node's own values are counted

    def size(node: yaml.Node) -> int:
        """Return how many values a node stands for, those of its aliases included."""
        known = sizes.get(id(node))
        if known is None:
            sizes[id(node)] = 0
            parts = node.value if isinstance(node, yaml.SequenceNode) else (
                chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else ())
            known = sizes[id(node)] = 1 + sum(map(size, parts))
        if not known:
            raise _at(node, "an alias stands within its own anchor")
        if known > MAX_NODES:
            raise _at(node, f"more than {MAX_NODES:,} values")
        return known

    size(root)


def read_tree(path: Path, as_text: bool = False) -> Tree:
    """Return the mapping in a YAML file; an unchanged file is parsed only once per process.

    Args:
        as_text: as for `parse_yaml`.
    """
    try:
        status = path.stat()
        tree = _parsed(path, (status.st_ino, status.st_mtime_ns, status.st_size), as_text)
    except FileNotFoundError:
        raise CallerError(f"{path}: no such file{_siblings(path)}") from None
    except CallerError:
        raise
    except (OSError, ValueError) as error:
        raise CallerError(f"{path}: cannot be read: {error}") from None
    if not isinstance(tree, dict):
        raise CallerError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return plain_copy(tree)


@lru_cache(maxsize=256)
def _parsed(path: Path, stamp: tuple[int, int, int], as_text: bool) -> Any:
    """Return the content of a file; cached, because thousands of runs share a few files."""
    return parse_yaml(read_bytes(path, 4 * MAX_CHARACTERS).decode("utf-8"), str(path), as_text)


def plain_copy(value: Any) -> Any:
    """Return a copy of nested dictionaries and lists, ten times faster than `copy.deepcopy`."""
    if isinstance(value, dict):
        return {key: plain_copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_copy(item) for item in value]
    return value


def _siblings(path: Path) -> str:
    names = sorted(file.name for file in path.parent.glob("*.yaml"))
    return f"; in {path.parent} there are: {', '.join(names)}" if names else ""


def set_key(tree: Tree, dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested dictionaries; create missing ones."""
    *parents, last = dotted.split(".")
    for depth, key in enumerate(parents):
        below = tree.setdefault(key, {})
        if not isinstance(below, dict):
            place = ".".join(parents[: depth + 1])
            raise CallerError(f"cannot set '{dotted}': '{place}' is {below!r}, not a group of keys")
        tree = below
    tree[last] = plain_copy(value)


def merge(below: Tree, above: Mapping[str, Any]) -> Tree:
    """Return `below` updated recursively with the keys of `above`."""
    merged = plain_copy(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = plain_copy(value)
    return merged


def parse_overrides(texts: Iterable[str], as_text: bool = False) -> Tree:
    """Return `{dotted key: value}` from command-line arguments `key=value` (values are YAML).

    Args:
        as_text: as for `parse_yaml`.
    """
    overrides: Tree = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise CallerError(f"'{text}' is not an override; write key=value, as in optim.lr=0.001")
        overrides[key] = parse_yaml(value, f"the override '{text}'", as_text)
    return overrides
