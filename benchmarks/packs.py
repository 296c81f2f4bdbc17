"""Packs: building one against a pass of torchvision's ImageFolder, and large against small ones.

    python benchmarks/packs.py [--quick]

The large pack holds 200,000 images of 32 x 32 pixels, decoded repeatedly from a few hundred files;
small images make costs that grow with their number easier to see. Memory is the anonymous memory of
a fresh process (RssAnon), which excludes memory-mapped pixels, shared by all. Packing is decoding
into the pack, without the preceding digest of the files; all files are in the page cache.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from timing import Comparison, seconds, side_by_side  # first: it pins the threads

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fer.data.layout import Picture, scan

if TYPE_CHECKING:
    from fer.data.pack import Pack

# slow imports are local: each packing process imports this file
CLASSES = ("negative", "neutral", "positive")
BATCH = 48
WORKERS = 2
SMALL_SIDE = 32  # pixels of the images in the small and the large pack


def build(pictures: Sequence[Picture], size: int, folder: Path) -> "Pack":
    """Return a new pack in `folder`, built by two processes."""
    from fer.data.pack_builder import build_pack

    return build_pack(pictures, CLASSES, size, folder, "0" * 32, WORKERS)


def building(root: Path, rounds: int) -> list[Comparison]:
    """Return packing against one pass of ImageFolder over the same files, without and with workers.
    """
    import input_pipeline
    from torch.utils.data import DataLoader
    from torchvision import transforms as tv

    pictures = scan("made", root, CLASSES)["train"]
    data = input_pipeline.folder_of(root, tv.ToTensor())
    places = iter(range(10_000))

    def theirs(workers: int) -> None:
        for _ in DataLoader(data, input_pipeline.BATCH, num_workers=workers):
            pass

    def ours() -> None:
        build(pictures, input_pipeline.SIZE, root / f"pack{next(places)}")

    title = f"packing {len(pictures):,} images in two processes, against a pass of ImageFolder"
    return [side_by_side(title, ours, lambda: theirs(0), rounds, 0.6),
            side_by_side(f"{title} in two", ours, lambda: theirs(WORKERS), rounds, None)]


def many(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """Return `count` images with distinct names that share the files of a few."""
    return [Picture("made", "train", f"train/{pictures[i % len(pictures)].label}/{i:07}.jpg",
                    pictures[i % len(pictures)].path, pictures[i % len(pictures)].label,
                    f"Person_{i}") for i in range(count)]


def growth(root: Path, few: int, lots: int, rounds: int) -> list[Comparison]:
    """Return the costs of a pack with many images against one with few."""
    from fer.data.batches import TrainBatches
    from fer.data.pack import Pack
    from fer.data.pixels import Source

    files = scan("made", root, CLASSES)["train"]
    packs = {n: build(many(files, n), SMALL_SIDE, root / f"of{n}") for n in (few, lots)}
    seeds = iter(range(10**6))  # a new order each time, so nothing is cached

    def first_batch(n: int) -> None:
        source = Source([Pack.open(packs[n].folder)])
        TrainBatches(source, next(seeds), "light", BATCH).batch(0, 0)

    os.sync()  # pending writes would be measured too
    title = f"{lots:,} images against {few:,}: "
    first = side_by_side(title + "opening and first batch", lambda: first_batch(lots),
                         lambda: first_batch(few), rounds, 1.2)
    memory = {n: _memory("train", packs[n].folder) for n in packs}
    built = {n: _memory("build", root, n) for n in packs}
    some = min(10 * few, lots // 2)
    times = sorted(_per_image(files, root, lots, number) / _per_image(files, root, some, number)
                   for number in range(3))
    return [
        first,
        _ratio(title + "memory of a training process", memory[lots], memory[few], "MB", 1.1),
        Comparison(f"{lots:,} images against {some:,}: packing, time per image", times[1], None,
                   "", times[1], times[0], times[-1], 1.2),
        _ratio(title + "memory of the packing process", built[lots], built[few], "MB", None)]


def _ratio(name: str, ours: float, theirs: float, unit: str, target: float | None) -> Comparison:
    ratio = ours / theirs
    return Comparison(name, ours, theirs, unit, ratio, ratio, ratio, target)


def _per_image(files: Sequence[Picture], root: Path, count: int, number: int) -> float:
    pictures = many(files, count)
    return seconds(lambda: build(pictures, SMALL_SIDE, root / f"of{count}-{number}")) / count


def _memory(what: str, place: Path, count: int = 0) -> float:
    """Return the anonymous memory in MB of a fresh process after some work."""
    done = subprocess.run([sys.executable, __file__, "--memory", what, str(place), str(count)],
                          capture_output=True, text=True, check=True)
    return float(done.stdout)


def _print_memory_after(what: str, place: Path, count: int) -> None:
    if what == "train":
        from fer.data.batches import TrainBatches
        from fer.data.pack import Pack
        from fer.data.pixels import Source

        batches = TrainBatches(Source([Pack.open(place)]), 0, "light", BATCH)
        for number in range(50):
            batches.batch(0, number % batches.steps_per_epoch)
    else:
        files = scan("made", place, CLASSES)["train"]
        build(many(files, count), SMALL_SIDE, place / f"memory-of{count}")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(next(int(line.split()[1]) / 1024 for line in status.splitlines()
               if line.startswith("RssAnon")))


def measure(quick: bool) -> list[Comparison]:
    """Return all comparisons, measured in a fresh process."""
    done = subprocess.run([sys.executable, __file__, "--json", *(["--quick"] if quick else [])],
                          stdout=subprocess.PIPE, text=True, check=True)
    return [Comparison(**one) for one in json.loads(done.stdout)]


def measure_here(quick: bool) -> list[Comparison]:
    """Return all comparisons, measured in this process."""
    import input_pipeline

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        input_pipeline.write_pictures(root / "large", 40 if quick else 4000)
        input_pipeline.write_pictures(root / "small", 100 if quick else 300, SMALL_SIDE)
        few, lots = (100, 500) if quick else (1000, 200_000)
        return [*building(root / "large", 1 if quick else 5),
                *growth(root / "small", few, lots, 1 if quick else 21)]


def main(options: Sequence[str]) -> None:
    """Measure, and print one line per comparison, or JSON."""
    comparisons = measure_here("--quick" in options)
    if "--json" in options:
        print(json.dumps([asdict(one) for one in comparisons]))
        return
    for one in comparisons:
        print(f"{one.name:100} {one.ratio:.3f} [{one.low:.3f}, {one.high:.3f}] "
              f"target {one.target}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        _print_memory_after(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(sys.argv[1:])
