"""`data.py add` and `verify` of many pictures, against decoding each once in as many processes.

    python benchmarks/data_import.py [--quick] [--side PIXELS]

Both sides are commands in fresh processes. The pictures are JPEGs of quality 90 with sides of 100
to 250 pixels, or of one side. Nothing is removed before the end: ext4 searches long for the places
of new files while others were removed in the last minutes.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from timing import Comparison  # first: it pins the threads

REPOSITORY = Path(__file__).resolve().parents[1]
CLASSES = ("negative", "neutral", "positive")
COUNT, QUICK_COUNT = 20_000, 400
ROUNDS = 3
TARGET = 2.0
DECODE = """
import multiprocessing, os, sys
from pathlib import Path
from PIL import Image
def decode(files):
    for file in files:
        with Image.open(file) as image:
            image.convert("RGB")
if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
    cores = len(os.sched_getaffinity(0))
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(decode, [files[at : at + 64] for at in range(0, len(files), 64)], 1)
"""


def write_pictures(folder: Path, count: int, side: int | None) -> None:
    """Write `count` smooth pictures with some noise, a tenth of them in `eval`."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 12, (400, 400, 3))
    for number in range(count):
        size = side or int(rng.integers(100, 251))
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        at, to = rng.integers(0, 400 - size, 2)
        pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), float)
        pixels = (pixels + noise[at : at + size, to : to + size]).clip(0, 255).astype(np.uint8)
        split = "train" if number % 10 else "eval"
        path = folder / split / CLASSES[number % 3] / f"{split.title()}_Made{number}_0001.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def measure(quick: bool = False, side: int | None = None) -> list[Comparison]:
    """Return the ratio of the times."""
    count = QUICK_COUNT if quick else COUNT
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        write_pictures(root / "made", count, side)
        (root / "decode.py").write_text(DECODE)

        def seconds(number: int, *command: str) -> float:
            own = {"FER_DATA": str(root / f"data{number}"), "FER_CACHE": str(root / "cache"),
                   "FER_HOME": str(root)}
            begun = time.perf_counter()
            subprocess.run([sys.executable, *command], env={**os.environ, **own}, cwd=REPOSITORY,
                           stdout=subprocess.DEVNULL, check=True)
            return time.perf_counter() - begun

        def ours(number: int) -> float:
            return seconds(number, "launch/data.py", "add", str(root / "made"), "--as", "MADE"
                           ) + seconds(number, "launch/data.py", "verify", "MADE", "--out",
                                       str(root / f"page{number}.html"))

        def theirs(number: int) -> float:
            return seconds(number, str(root / "decode.py"), str(root / "made"))

        theirs(0)
        pairs = []
        for number in range(1 if quick else ROUNDS):
            sides = [ours, theirs]
            first = number % 2
            found = {first: sides[first](number), 1 - first: sides[1 - first](number)}
            pairs.append((found[0], found[1]))
    ratios = sorted(own / peer for own, peer in pairs)
    sizes = f"{side} px" if side else "100 to 250 px"
    return [Comparison(f"add and verify of {count:,} JPEGs of {sizes}, against decoding them once",
                       statistics.median(own for own, _ in pairs) * 1e3,
                       statistics.median(peer for _, peer in pairs) * 1e3, "ms",
                       statistics.median(ratios), ratios[0], ratios[-1],
                       None if quick else TARGET)]  # of 400, starting takes most of the time


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="400 pictures, one round")
    parser.add_argument("--side", type=int, help="pixels; default: 100 to 250")
    options = parser.parse_args()
    for one in measure(options.quick, options.side):
        print(f"{one.name}: {one.ours / 1e3:.1f} s against {one.theirs / 1e3:.1f} s: "  # type: ignore[operator]
              f"{one.ratio:.2f} [{one.low:.2f}, {one.high:.2f}], target {one.target}")
