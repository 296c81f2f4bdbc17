"""Tensors from any pickle of `torch.save`, without importing or calling what the pickle names.

Whole modules (`torch.save(model)`), and state dicts beside optimisers, `Namespace`s, paths or numpy
numbers, name classes that `torch.load(weights_only=True)` refuses. Here every name that is not in
`_KNOWN` becomes an inert stand-in that only keeps what it was given. After the format of
torch/serialization.py (2.10): zip archives, and the older sequence of pickles.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
}


class Inert:
    """Stand-in for an object of a pickle: keeps its arguments and its state, and does nothing."""

    named = ""

    def __init__(self, *arguments: object, **_: object) -> None:
        self.arguments = arguments
        self.state: object = None

    def append(self, item: object) -> None:
        """Ignore an item, as of a stand-in for a list."""

    def extend(self, items: object) -> None:
        """Ignore items."""

    def __setitem__(self, key: object, value: object) -> None:
        """Ignore an item, as of a stand-in for a dictionary."""


class _Storage:
    """The bytes of one storage, to which tensors are views."""

    def __init__(self, dtype: torch.dtype, content: bytearray) -> None:
        self.dtype, self.content = dtype, content

    def tensor(self) -> Tensor:
        """Return all elements as a vector that shares the bytes."""
        if not self.content:
            return torch.empty(0, dtype=self.dtype)
        return torch.frombuffer(self.content, dtype=self.dtype)


def _rebuilt(storage: object, offset: object, size: object, stride: object, *_: object) -> object:
    """Return the view of a storage that a pickle describes; a `ValueError` if it leads outside."""
    if not isinstance(storage, _Storage):
        return Inert()
    numbers = [offset, *(size if isinstance(size, tuple) else [None]),
               *(stride if isinstance(stride, tuple) else [None])]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a tensor without a size")
    place: Any = (size, stride, offset)
    return torch.as_strided(storage.tensor(), *place)


def _typed(storage: object, offset: object, size: object, stride: object, _grad: object,
           _hooks: object, dtype: object, *_: object) -> object:
    """As `_rebuilt`, for a storage without a type of its own."""
    if isinstance(storage, _Storage) and isinstance(dtype, torch.dtype):
        storage = _Storage(dtype, storage.content)
    return _rebuilt(storage, offset, size, stride)


def _first(value: object, *_: object) -> object:
    return value


def _of_type(build: object, _kind: object, arguments: object, *_: object) -> object:
    """Return the tensor of a subclass, as a plain one."""
    if callable(build) and isinstance(arguments, tuple) and _is_called(build):
        return build(*arguments)
    return Inert()


_KNOWN: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
    ("torch._utils", "_rebuild_tensor_v3"): _typed,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    **{("torch", str(dtype).removeprefix("torch.")): dtype for dtype in _DTYPES.values()},
}
_CALLED: frozenset[object] = frozenset(
    value for value in _KNOWN.values() if not isinstance(value, torch.dtype))


_InPython: Any = pickle._Unpickler  # its opcodes can be replaced


class _Unpickler(_InPython):
    """An unpickler that calls nothing but `_CALLED` and stand-ins."""

    def __init__(self, file: IO[bytes], storage: Callable[[Sequence[Any]], _Storage]) -> None:
        super().__init__(file, encoding="latin1")
        self._storage = storage

    def find_class(self, module: str, name: str) -> object:
        """Return what a name stands for; never imports anything."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        return type("Inert", (Inert,), {"named": f"{module}.{name}"})

    def persistent_load(self, pid: object) -> object:
        """Return a storage, or the stand-in for a class, which older files have with its source."""
        if isinstance(pid, tuple) and pid[:1] == ("module",) and len(pid) > 1:
            return pid[1]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            raise pickle.UnpicklingError("an unknown kind of persistent object")
        if not isinstance(pid[1], torch.dtype) or type(pid[4]) is not int:
            raise pickle.UnpicklingError("a storage of an unknown type")
        return self._storage(pid)

    def get_extension(self, code: int) -> None:
        """Refuse a code of `copyreg`, which would name a class by number."""
        raise pickle.UnpicklingError("an extension code")

    def _made(self, function: object, arguments: object) -> object:
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("arguments are no tuple")
        if isinstance(function, type) and issubclass(function, Inert):
            return function(*arguments)
        return function(*arguments) if callable(function) and _is_called(function) else Inert(
            *arguments)

    def load_reduce(self) -> None:
        """Call a known function, or make a stand-in."""
        arguments = self.stack.pop()
        self.stack[-1] = self._made(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        """Make a stand-in."""
        arguments = self.stack.pop()
        self.stack[-1] = self._made(self.stack[-1], arguments)

    def load_newobj_ex(self) -> None:
        """Make a stand-in without the keywords."""
        self.stack.pop()
        self.load_newobj()

    def _instantiate(self, kind: object, arguments: Sequence[object]) -> None:
        self.append(self._made(kind, tuple(arguments)))

    def load_build(self) -> None:
        """Keep the state of a stand-in; ignore that of anything else."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    dispatch = {**_InPython.dispatch,
                pickle.REDUCE[0]: load_reduce, pickle.NEWOBJ[0]: load_newobj,
                pickle.NEWOBJ_EX[0]: load_newobj_ex, pickle.BUILD[0]: load_build}


def _is_called(function: object) -> bool:
    try:
        return function in _CALLED
    except TypeError:  # not hashable
        return False


def read_inertly(path: Path) -> object:
    """Return the content of a file of `torch.save`, with stand-ins for all but tensors.

    Args:
        path: of either format; its tensors are on the CPU.

    Raises:
        ValueError, pickle.UnpicklingError, and others: the file is damaged or hostile.
    """
    with open(path, "rb") as file:
        if file.read(2) == b"PK":
            return _from_zip(path)
        file.seek(0)
        return _from_pickles(file, path.stat().st_size)


def _from_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if one.endswith("data.pkl"))
        folder = name.removesuffix("data.pkl")
        most = path.stat().st_size

        def storage(pid: Sequence[Any]) -> _Storage:
            """Return the numbers that a persistent id names, each storage once."""
            info = archive.getinfo(f"{folder}data/{pid[2]}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > most:
                raise ValueError("a compressed storage")
            if info.filename not in known:
                known[info.filename] = bytearray(archive.read(info))
            return _Storage(pid[1], known[info.filename])

        known: dict[str, bytearray] = {}
        info = archive.getinfo(name)
        if info.file_size > most:
            raise ValueError("a compressed pickle")
        with archive.open(info) as file:
            return _Unpickler(file, storage).load()


def _from_pickles(file: IO[bytes], most: int) -> object:
    known: dict[str, _Storage] = {}
    left = most

    def storage(pid: Sequence[Any]) -> _Storage:
        """Return the numbers that a persistent id names, each storage once."""
        nonlocal left
        key, size = str(pid[2]), pid[4] * pid[1].itemsize
        if key not in known:
            if not 0 <= size <= left:
                raise ValueError("a storage larger than the file")
            left -= size
            known[key] = _Storage(pid[1], bytearray(size))
        return known[key]

    def part() -> Any:
        return _Unpickler(file, storage).load()

    if part() != LEGACY_MAGIC:
        raise ValueError("not a file of torch.save")
    part(), part()  # version and machine
    content = part()
    for key in part():
        (numel,) = struct.unpack("<q", file.read(8))
        if str(key) in known:
            one = known[str(key)]
            if numel * one.dtype.itemsize != len(one.content):
                raise ValueError("a storage of another size than declared")
            one.content[:] = _exactly(file, len(one.content))
    return content


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise ValueError("truncated")
    return content
