"""Loss weights of the mask types among the training pictures.

The types are those that `pictures.csv` names; the remaining pictures of each set form one further
type. Not for masks drawn during training (`fer.data.masks`), whose styles are equally frequent.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.atomic_io import write_json
from fer.config.run import Data
from fer.data.layout import discover
from fer.data.metadata import read_facts
from fer.data.splits import folder_of, pictures_of
from fer.untrusted_io import read_json


def types_of(sets: Sequence[str], data: Data, root: Path) -> dict[str, str]:
    """Return the mask type of each training picture, by sample id.

    Args:
        sets: names of the training sets; only their `train` splits are used.
        data: the configuration's data sets.
        root: base of relative set folders.

    Raises:
        CallerError: as in `pictures_of`.
    """
    types: dict[str, str] = {}
    for name in sets:
        facts = read_facts(discover(folder_of(name, data, root)))
        for picture in pictures_of(f"{name}/train", data, root):
            known = facts.get(picture.relative)
            types[picture.id] = known.mask_type if known and known.mask_type else f"{name}/"
    return types


def types_digest(types: Mapping[str, str]) -> str:
    """Return a digest of the partition into types, 32 hexadecimal digits, for the run id.

    It does not depend on the names of sets and types.
    """
    numbers: dict[str, int] = {}
    lines = [f"{sample.partition('/')[2]}\0{numbers.setdefault(types[sample], len(numbers))}"
             for sample in sorted(types, key=lambda sample: sample.partition("/")[2])]
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def keep_types(types: Mapping[str, str], cache: Path) -> str:
    """Cache types for nodes without access to the pictures; return their digest."""
    digest = types_digest(types)
    if not (file := _kept(digest, cache)).is_file():
        write_json(file, dict(types))
    return digest


def kept_types(digest: str, cache: Path, samples: Sequence[str]) -> dict[str, str] | None:
    """Return the cached types of a digest if they cover all samples, else None."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        types = read_json(_kept(digest, cache))
        if isinstance(types, dict) and types.keys() >= set(samples):
            return types
    return None


def _kept(digest: str, cache: Path) -> Path:
    return cache / "mask_types" / f"{digest}.json"


def type_weights(types: Mapping[str, str], samples: Sequence[str]) -> NDArray[np.float32]:
    """Return the weight of each sample, float32 (N,): N / types / samples of its type.

    Args:
        types: the mask type by sample id.
        samples: the N sample ids.
    """
    own = [types[sample] for sample in samples]
    counts = Counter(own)
    return np.array([len(own) / len(counts) / counts[kind] for kind in own], np.float32)
