"""Images per second from disk to batch, compared with torchvision's ImageFolder.

    python benchmarks/input_pipeline.py [--quick] [--json FILE]

Both sides alternate (A/B/A/B) in one process with one thread on the same 250-pixel JPEGs. The
result is the median of the rounds' ratios with the smallest and the largest. Ours starts from an
existing pack, theirs from files, both in the page cache. Equal images are asserted where nothing is
random. Each side ends with the model's input: in evaluation that is uint8 for ours, whose models
scale on their device, and ToTensor's float32 for theirs.
"""

import argparse
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch are imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset
from torchvision import transforms as tv
from torchvision.datasets import ImageFolder

from fer.data.batches import EvalBatches, TrainBatches
from fer.data.layout import scan
from fer.data.masks.atlas import Atlas, MaskAugmentation, make_atlas
from fer.data.masks.styles import named
from fer.data.pack import Pack
from fer.data.pack_builder import build_pack
from fer.data.pixels import Source

CLASSES = ("negative", "neutral", "positive")
SIDE, SIZE, BATCH = 250, 224, 48
OURS_AT_LEAST_S = 0.5  # ours repeats until then in a round: one pass is too short to time


@dataclass(frozen=True)
class Result:
    """Ours against theirs; images per second are medians over the rounds."""

    ratio_median: float
    low: float
    high: float
    target: float | None
    ours_per_s: float
    theirs_per_s: float
    rounds: int
    pictures: int


class AddNoise:
    """Gaussian noise on a float tensor, as in the third pass of the 2021 study."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image + 0.05 * torch.randn_like(image)


class ThroughJpeg:
    """A round trip through JPEG of random quality, with Pillow."""

    def __call__(self, image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(torch.randint(20, 81, ())), subsampling="4:2:0")
        return Image.open(file)


class PasteMask:
    """A random mask of an atlas, flipped and shifted at random, pasted with Pillow."""

    def __init__(self, atlas: Atlas) -> None:
        self.masks = [Image.fromarray(np.dstack([colour, alpha])) for colour, alpha in
                      zip(atlas.colour, atlas.alpha, strict=True)]
        self.row, self.column = atlas.corner.tolist()

    def __call__(self, image: Image.Image) -> Image.Image:
        mask = self.masks[int(torch.randint(len(self.masks), ()))]
        if torch.rand(()) < 0.5:
            mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        dx, dy = torch.randint(-4, 5, (2,)).tolist()
        image.paste(mask, (self.column + dx, self.row + dy), mask)
        return image


def write_pictures(folder: Path, count: int, side: int = SIDE) -> None:
    """Write `count` smooth random square JPEGs of quality 95 in three class folders."""
    rng = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        place = folder / "train" / CLASSES[i % 3]
        place.mkdir(parents=True, exist_ok=True)
        picture = coarse.resize((side, side), Image.Resampling.BICUBIC)
        picture.save(place / f"Person_{i:04d}.jpg", quality=95)


def folder_of(root: Path, *steps: Callable) -> ImageFolder:
    """Return torchvision's data set with the usual resize and crop, then `steps`."""
    return ImageFolder(root / "train", tv.Compose([tv.Resize(SIZE), tv.CenterCrop(SIZE), *steps]))


def study_of_2021(root: Path) -> Dataset:
    """Return the four passes of the 2021 study, written with torchvision."""
    flip, tensor = tv.RandomHorizontalFlip(), tv.ToTensor()
    return ConcatDataset([
        folder_of(root, flip, tv.RandomRotation((1, 20)), tensor),
        folder_of(root, flip, tv.RandomRotation((-20, -1)), tensor),
        folder_of(root, flip, tv.RandomAffine(0, translate=(0.1, 0.1)), tensor, AddNoise()),
        folder_of(root, tensor)])


def strong_with_torchvision(root: Path) -> ImageFolder:
    """Return the strong preset, with the same probabilities and strengths, in torchvision.

    Low light and the colour cast are omitted: torchvision has no equivalent.
    """
    return folder_of(
        root, tv.RandomHorizontalFlip(), tv.RandomChoice([
            tv.RandomAffine(0, translate=(0.08, 0.08)),
            tv.RandomAffine(15, translate=(0.08, 0.08), scale=(0.85, 1.15), shear=8)]),
        tv.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.6), tv.RandomGrayscale(0.1),
        tv.RandomApply([tv.GaussianBlur(9, (0.45, 1.8))], 0.2),
        tv.RandomApply([ThroughJpeg()], 0.2), tv.ToTensor(), tv.RandomApply([AddNoise()], 0.3),
        tv.RandomErasing(0.25, scale=(0.02, 0.2), ratio=(1 / 3, 3.0)))


def theirs(data: Dataset, shuffle: bool = True) -> Iterable[torch.Tensor]:
    """Return one pass of a loader without worker processes."""
    return (images for images, _ in DataLoader(data, BATCH, shuffle=shuffle, num_workers=0))


def rate(pass_of: Callable[[int], Iterable[torch.Tensor]], at_least: float = 0.0) -> float:
    """Return images per second over whole passes that take at least `at_least` seconds."""
    start, pictures, number = time.perf_counter(), 0, 0
    while number == 0 or time.perf_counter() - start < at_least:
        pictures += sum(len(images) for images in pass_of(number))
        number += 1
    return pictures / (time.perf_counter() - start)


def side_by_side(ours: Callable[[int], Iterable[torch.Tensor]],
                 peer: Callable[[int], Iterable[torch.Tensor]], rounds: int, pictures: int,
                 target: float | None) -> Result:
    """Measure both alternately, `rounds` times, after one warm-up pass of each."""
    rate(ours), rate(peer)
    pairs = np.array([(rate(ours, OURS_AT_LEAST_S), rate(peer)) for _ in range(rounds)])
    ratios = pairs[:, 0] / pairs[:, 1]
    ours_s, theirs_s = np.median(pairs, axis=0)
    return Result(float(np.median(ratios)), float(ratios.min()), float(ratios.max()), target,
                  float(ours_s), float(theirs_s), rounds, pictures)


def assert_equal_pictures(source: Source, root: Path) -> None:
    """Assert that the evaluation path equals torchvision's bit for bit."""
    expected = torch.cat(list(theirs(folder_of(root, tv.PILToTensor()), shuffle=False)))
    ours = torch.cat([batch.images.clone() for batch in EvalBatches(source, BATCH)])
    assert torch.equal(ours, expected), "the two sides give different images"


def compare(root: Path, pack: Pack, rounds: int) -> dict[str, Result]:
    """Return the results by name."""
    source = Source([pack])
    assert_equal_pictures(source, root)
    evaluation = EvalBatches(source, BATCH)
    light, study, strong, trivial = (TrainBatches(source, 0, name, BATCH)
                                     for name in ("light", "seed2021", "strong", "trivial"))
    plain_theirs = folder_of(root, tv.ToTensor())
    light_theirs = folder_of(root, tv.RandomHorizontalFlip(),
                             tv.RandomAffine(0, translate=(0.08, 0.08)),
                             tv.ColorJitter(brightness=0.2, contrast=0.2), tv.ToTensor())
    study_theirs, strong_theirs = study_of_2021(root), strong_with_torchvision(root)
    trivial_theirs = folder_of(root, tv.TrivialAugmentWide(), tv.ToTensor())
    atlas = make_atlas(named(["all"]), "funnelled", SIZE)
    masked = TrainBatches(source, 0, "light", BATCH, masks=MaskAugmentation(atlas, 1.0))
    masked_theirs = folder_of(root, PasteMask(atlas), tv.RandomHorizontalFlip(),
                              tv.RandomAffine(0, translate=(0.08, 0.08)),
                              tv.ColorJitter(brightness=0.2, contrast=0.2), tv.ToTensor())
    return {
        "evaluation": side_by_side(lambda _: (b.images for b in evaluation),
                                   lambda _: theirs(plain_theirs, shuffle=False),
                                   rounds, pack.n, 20.0),
        "light": side_by_side(lambda epoch: (b.images for b in light.epoch(epoch)),
                              lambda _: theirs(light_theirs), rounds, pack.n, 4.0),
        "light and masks": side_by_side(lambda epoch: (b.images for b in masked.epoch(epoch)),
                                        lambda _: theirs(masked_theirs), rounds, pack.n, 4.0),
        "strong": side_by_side(lambda epoch: (b.images for b in strong.epoch(epoch)),
                               lambda _: theirs(strong_theirs), rounds, pack.n, 4.0),
        "trivial": side_by_side(lambda epoch: (b.images for b in trivial.epoch(epoch)),
                                lambda _: theirs(trivial_theirs), rounds, pack.n, None),
        "seed2021": side_by_side(lambda epoch: (b.images for b in study.epoch(epoch)),
                                 lambda _: theirs(study_theirs), rounds, pack.n, None)}


def main(quick: bool, file: Path | None) -> dict[str, Result]:
    """Run everything, print a table and write the JSON; return the results."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_pictures(root, 24 if quick else 600)
        pictures = scan("made", root, CLASSES)["train"]
        pack = build_pack(pictures, CLASSES, SIZE, root / "pack", "0" * 32, workers=1)
        results = compare(root, pack, rounds=1 if quick else 7)
    print(f"{'1 thread, 250 -> 224 px':24}{'ours/s':>9}{'theirs/s':>10}{'ratio':>8}"
          f"{'lowest':>8}{'highest':>9}{'target':>8}")
    for name, r in results.items():
        target = f">= {r.target:.0f}" if r.target else "-"
        print(f"{name:24}{r.ours_per_s:9.0f}{r.theirs_per_s:10.0f}{r.ratio_median:8.1f}"
              f"{r.low:8.1f}{r.high:9.1f}{target:>8}")
    if file:
        content = {name: asdict(result) for name, result in results.items()}
        file.write_text(json.dumps(content, indent=1) + "\n")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE")
    options = parser.parse_args()
    done = main(options.quick, options.json)
    sys.exit(any(r.target is not None and r.ratio_median < r.target for r in done.values()))
