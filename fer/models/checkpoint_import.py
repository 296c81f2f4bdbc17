"""Safe import of foreign checkpoints, without executing any code in them.

Reads original ResidualMaskingNetwork and MaskedFER checkpoints, state dicts within other
dictionaries, whole modules and safetensors, and returns state dicts with the original names for
export. The project's own files are handled in
`fer.models.weights`.
"""

import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fer.errors import CallerError
from fer.models.architectures.resmasking import alias_of
from fer.models.classifier import Classifier
from fer.models.inert_pickle import read_inertly
from fer.models.state_dicts import Found, Translate, detached, find_state_dict
from fer.plain_text import shortened

ZIP_MAGIC = b"PK\x03\x04"  # torch.save since 1.6
PICKLE_MAGIC = b"\x80\x02\x8a\x0a"  # torch.save before 1.6: a pickled long
HEADER_START = slice(8, 9)  # a safetensors file: eight bytes of length, then JSON
MOST_HEADER = 4_000_000  # bytes; of a network of a thousand layers a tenth
MOST_REPEATED = 10_000_000  # elements of a tensor that repeats fewer
STATE_KEY = "net"  # key of the state dict in original checkpoints


class _IgnoredDtype:
    """Replaces `numpy.dtype`, so that no numpy code runs on untrusted arguments."""

    def __init__(self, *arguments: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _ignored_scalar(*arguments: object) -> None:
    """Replace a numpy scalar, such as the metrics in original checkpoints."""


ALLOWED: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_ignored_scalar, "numpy.core.multiarray.scalar"),
    (_ignored_scalar, "numpy._core.multiarray.scalar"),
    (_IgnoredDtype, "numpy.dtype"),
]
"""Globals that a foreign pickle may name in addition to those torch allows."""


def find_foreign(path: Path, wanted: Mapping[str, Sequence[int]] | None = None,
                 translate: Translate | None = None) -> Found:
    """Return the state dict in a checkpoint file, on the CPU, without aliases and prefixes.

    Args:
        path: written by `torch.save` (a state dict, alone or within other dictionaries, or a whole
            module) or safetensors; detected by content, because original checkpoints have no file
            extension. Nothing that a pickle names is imported or called.
        wanted: shapes of the network's tensors by name, which decide among several state dicts
            and prefixes.
        translate: gives weights of other projects the network's names.

    Raises:
        CallerError: missing, truncated, or not weights.
    """
    def translated(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
        if translate is None or _odd_tensor(tensors) is not None:
            return None
        return translate(tensors)

    content = _read(path)
    found = find_state_dict(content, wanted, translated)
    if found is None:
        raise CallerError(f"{path}: contains no state dict, only {type(content).__name__}")
    if (odd := _odd_tensor(found.tensors)) is not None:
        raise CallerError(f"{path}: '{shortened(odd)}' is sparse, quantized, complex or without "
                          "values: no weights that can be read")
    return replace(found, tensors=_without_aliases(detached(found.tensors), path))


def _odd_tensor(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of a tensor that no network has, or that is far larger than the file."""
    return next((key for key, tensor in tensors.items() if tensor.layout is not torch.strided
                 or tensor.is_quantized or tensor.is_meta or tensor.is_complex()
                 or tensor.numel() > max(tensor.untyped_storage().nbytes(), MOST_REPEATED)), None)


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Return the tensors of `find_foreign`."""
    return find_foreign(path).tensors


def to_original(model: Classifier) -> dict[str, Tensor]:
    """Return the network's state dict with the original's keys and aliases, in its order."""
    state: dict[str, Tensor] = model.net.state_dict()
    aliases: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        if alias := alias_of(key):
            aliases.setdefault(_block(alias), {})[alias] = tensor
    last_of_block = {_block(key): key for key in state}
    original: dict[str, Tensor] = {}
    for key, tensor in state.items():
        original[key] = tensor
        if last_of_block[_block(key)] == key:
            original.update(aliases.get(_block(key), {}))
    return original


def _block(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _read(path: Path) -> object:
    start = _start(path)
    if start.startswith((ZIP_MAGIC, PICKLE_MAGIC)):
        return _read_torch(path)
    if start[HEADER_START] == b"{":
        return _read_safetensors(path)
    raise CallerError(f"{path}: neither a torch checkpoint nor safetensors")


def _start(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a FIFO would wait for ever
            raise CallerError(f"{path}: not a regular file")
        with open(path, "rb") as handle:
            return handle.read(9)
    except OSError as error:
        raise CallerError(f"{path}: cannot be read: {error.strerror}") from error


def refuse_long_header(path: Path) -> None:
    """Raise a `CallerError` if a safetensors file declares far more tensors than a network has."""
    start = _start(path)
    if start[HEADER_START] == b"{" and int.from_bytes(start[:8], "little") > MOST_HEADER:
        raise CallerError(f"{path}: its header is longer than {MOST_HEADER:,} bytes: it has more "
                          "tensors than any network")


def _read_torch(path: Path) -> object:
    if reason := _odd(path):
        raise CallerError(f"{path}: {reason}")
    try:
        with (torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings(),
              open(path, "rb") as file):  # of a path it would believe the extension
            warnings.simplefilter("ignore")  # of TorchScript archives, which are lifted below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or truncated pickle can raise anything
        reason = str(error).strip() or type(error).__name__
        named = re.search(r"GLOBAL (\S+)", reason)
        scripted = "TorchScript archive" in reason
        if (named or scripted) and (lifted := _lifted(path)) is not None:
            return lifted
        if named:
            raise CallerError(f"{path}: refused, it tries to run '{shortened(named[1])}'; only "
                              "tensors and plain values are read") from error
        raise CallerError(f"{path}: truncated, or not a checkpoint: "
                          f"{shortened(reason.splitlines()[0])}") from error


def _odd(path: Path) -> str:
    """Return why torch must not read a pickle; empty if it may.

    Compressed records grow a thousand times; over a long name torch's own message takes minutes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            if any(info.compress_type != zipfile.ZIP_STORED for info in infos
                   if "/code/" not in info.filename):  # of TorchScript, which nobody reads here
                return "compressed, as torch.save never writes"
            pickles = [info for info in infos if info.filename.endswith("data.pkl")]
            content = b"".join(archive.read(info) for info in pickles[:1])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        with open(path, "rb") as file:
            content = file.read(MOST_HEADER)
    long = any(re.fullmatch(rb"[\w.]{1000}", line[-1000:]) for line in content.split(b"\n")[:-1])
    return "a pickle with a name of over 1,000 letters: not a checkpoint" if long else ""


def _lifted(path: Path) -> object | None:
    """Return the content of a pickle that names other classes; None if it has no tensors."""
    try:
        content = read_inertly(path)
        return content if find_state_dict(content) is not None else None
    except Exception:  # as above; the refusal of torch is then the message
        return None


def _read_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    refuse_long_header(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CallerError(f"{path}: truncated, or not safetensors: {error}") from error


def _without_aliases(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    aliases = {alias: key for key in state if (alias := alias_of(key))}
    kept = {}
    for key, tensor in state.items():
        first = aliases.get(key)
        if first is None:
            kept[key] = tensor
        elif not torch.equal(state[first], tensor):
            raise CallerError(f"{path}: '{key}' and '{first}' differ, but must be the same tensor")
    return kept
