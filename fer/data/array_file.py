"""Arrays in `.npy` files that somebody else may have written."""

import stat
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer.untrusted_io import NotRegular

MAGIC = b"\x93NUMPY"


def map_array(path: Path) -> NDArray[Any]:
    """Return the array in a file, mapped for reading.

    Raises:
        FileNotFoundError: there is none.
        NotRegular: it is a folder, a FIFO or a device, which would wait for ever.
        ValueError: it is no complete array of numbers.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotRegular(f"{path}: not a regular file")
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:  # numpy also reads archives and pickles
            raise ValueError(f"{path}: not an array")
    try:
        return np.asanyarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError,
            TokenError) as error:  # numpy reads the header as Python literals
        raise ValueError(f"{path}: not an array ({type(error).__name__})") from None
