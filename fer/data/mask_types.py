"""What each type of mask among the training pictures weighs in the loss.

The types are those that `pictures.csv` names; the pictures of a set that are not named there are
one type more. Not for masks that are drawn while training (`fer.data.masks`): their styles come
equally often.
"""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer.atomic_io import read_json, write_json
from fer.config.run import Data
from fer.data.layout import discover
from fer.data.metadata import read_facts
from fer.data.splits import folder_of, pictures_of


def types_of(sets: Sequence[str], data: Data, root: Path) -> dict[str, str]:
    """Return the mask type of each picture that is trained on, by sample id.

    Args:
        sets: names of the training sets, of which `train` is looked at.
        data: the configuration's data sets.
        root: folder below which relative set folders lie.

    Raises:
        CallerError: what `pictures_of` refuses.
    """
    types: dict[str, str] = {}
    for name in sets:
        facts = read_facts(discover(folder_of(name, data, root)))
        for picture in pictures_of(f"{name}/train", data, root):
            known = facts.get(picture.relative)
            types[picture.id] = known.mask_type if known and known.mask_type else f"{name}/"
    return types


def types_digest(types: Mapping[str, str]) -> str:
    """Return what joins the run id: 32 hexadecimal digits of who shares a type with whom.

    It does not follow what sets and types are called.
    """
    numbers: dict[str, int] = {}
    lines = [f"{sample.partition('/')[2]}\0{numbers.setdefault(types[sample], len(numbers))}"
             for sample in sorted(types, key=lambda sample: sample.partition("/")[2])]
    return blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def keep_types(types: Mapping[str, str], cache: Path) -> str:
    """Keep types for nodes that need not see the pictures; returns their digest."""
    digest = types_digest(types)
    if not (file := _kept(digest, cache)).is_file():
        write_json(file, dict(types))
    return digest


def kept_types(digest: str, cache: Path, samples: Sequence[str]) -> dict[str, str] | None:
    """Return the types that were kept under a digest, if all of these samples are among them."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        types = read_json(_kept(digest, cache))
        if isinstance(types, dict) and types.keys() >= set(samples):
            return types
    return None


def _kept(digest: str, cache: Path) -> Path:
    return cache / "mask_types" / f"{digest}.json"


def type_weights(types: Mapping[str, str], samples: Sequence[str]) -> NDArray[np.float32]:
    """Return what each sample weighs, float32 (N,): N / types / samples of its type.

    Args:
        types: the mask type by sample id.
        samples: the N sample ids.
    """
    own = [types[sample] for sample in samples]
    counts = Counter(own)
    return np.array([len(own) / len(counts) / counts[kind] for kind in own], np.float32)
