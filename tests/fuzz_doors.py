"""Damaged bytes at every door of this project; whole commands on a store: `hostile_store.py`.

    python tests/fuzz_doors.py --inputs 10000 --seed 1

A door may return something, or raise what it documents. Anything else is printed, as is a read that
takes over two seconds, or 500 MB more than any before it.
"""

import argparse
import sys
import tempfile
import time
import warnings
from fnmatch import fnmatch
from pathlib import Path

from fuzz.doors import Door, fuzzed
from fuzz.file_doors import file_doors
from fuzz.store_doors import store_doors


def doors(folder: Path) -> list[Door]:
    """Return all doors; `folder` is for files that are written to be read back."""
    return [*file_doors(folder), *store_doors(folder / "store")]


def main() -> int:
    """Print the findings of each door; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000, help="at each door")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", default="*", help="pattern of their names")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # of damage that is skipped
    total = 0
    with tempfile.TemporaryDirectory() as name:
        for door in doors(Path(name)):
            if not fnmatch(door.name, asked.doors):
                continue
            begin, found = time.monotonic(), 0
            for line in fuzzed(door, Path(name), asked.inputs, asked.seed):
                found += 1
                print(line, flush=True)
            print(f"{door.name:34} {asked.inputs} inputs, {found} findings, "
                  f"{time.monotonic() - begin:.0f} s", flush=True)
            total += found
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
