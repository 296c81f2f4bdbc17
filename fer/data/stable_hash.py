"""Stable hashes, the only source of randomness in the data pipeline.

Implemented here, so that orders and augmentations never change with a library version. Not for
file contents (`fer.data.digest`) or cryptography.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_GAMMA_WORD, _MIX_1_WORD, _MIX_2_WORD = np.uint64(_GAMMA), np.uint64(_MIX_1), np.uint64(_MIX_2)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)


def splitmix(word: int) -> int:
    """Return the SplitMix64 output for state `word` (Steele et al., OOPSLA 2014)."""
    word = (word + _GAMMA) & _MASK
    word = ((word ^ (word >> 30)) * _MIX_1) & _MASK
    word = ((word ^ (word >> 27)) * _MIX_2) & _MASK
    return word ^ (word >> 31)


def splitmix_words(words: Words) -> Words:
    """Return `splitmix` of every element; uint64 in, a new uint64 array of the same shape out."""
    out = words + _GAMMA_WORD
    out ^= out >> _S30
    out *= _MIX_1_WORD
    out ^= out >> _S27
    out *= _MIX_2_WORD
    out ^= out >> _S31
    return out


def key(*numbers: int) -> int:
    """Return one 64-bit key for a tuple of integers; their order matters."""
    state = 0
    for number in numbers:
        state = splitmix(state ^ (number & _MASK))
    return state


def text_word(text: str) -> int:
    """Return a 64-bit hash of `text` (UTF-8), the same on every machine."""
    content = text.encode("utf-8", "surrogateescape")  # a file's name need not be UTF-8
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
