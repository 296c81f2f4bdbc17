"""Paired views: the same people under the same augmentation, row by row."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_sets import CLASSES, write_set
from PIL import Image

from fer.data.batches import TrainBatches
from fer.data.layout import scan
from fer.data.masks.atlas import MaskAugmentation, make_atlas
from fer.data.pack_builder import build_pack
from fer.data.paired_batches import PairedBatches, partners_in
from fer.data.pixels import Source
from fer.errors import CallerError

SIZE = 32


def source(root: Path, name: str) -> Source:
    pictures = scan(name, root / name, CLASSES)["train"]
    return Source([build_pack(pictures, CLASSES, SIZE, root / f"{name}-pack", "d" * 32)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Plain pictures, and a twin in which the lower half of each is white."""
    write_set(tmp_path / "plain", {"train": 8})
    shutil.copytree(tmp_path / "plain", tmp_path / "masked")
    for path in (tmp_path / "masked").rglob("*.jpg"):
        pixels = np.array(Image.open(path))
        pixels[len(pixels) // 2:] = 255
        Image.fromarray(pixels).save(path, quality=95)
    return tmp_path


@pytest.mark.parametrize("preset", ["none", "light", "seed2021"])
def test_both_views_are_augmented_alike(root: Path, preset: str) -> None:
    plain, masked = source(root, "plain"), source(root, "masked")
    batches = TrainBatches(masked, 5, preset, 12)
    batch = PairedBatches(batches, plain).batch(1, 0)
    samples = batches.samples(1, 0)
    expected = batches.preset.apply(plain.gather(batch.indices), samples)  # files sort alike
    assert torch.equal(batch.second, expected) and not torch.equal(batch.second, batch.images)
    assert torch.equal(batch.images, batches.batch(1, 0).images)


def test_the_views_of_one_set_are_the_same_picture(root: Path) -> None:
    batch = PairedBatches(TrainBatches(source(root, "plain"), 5, "strong", 12)).batch(1, 0)
    assert torch.equal(batch.images, batch.second)


def test_masks_are_laid_on_the_first_view_only(root: Path) -> None:
    plain = source(root, "plain")
    masks = MaskAugmentation(make_atlas(("flat",), "cropped", SIZE), 1.0)
    batch = PairedBatches(TrainBatches(plain, 5, "none", 12, masks=masks)).batch(0, 0)
    assert torch.equal(batch.second, plain.gather(batch.indices).permute(0, 3, 1, 2))
    changed = (batch.images != batch.second).any(1)
    assert bool(changed[:, SIZE // 2 :].any()) and not bool(changed[:, :4].any())


def test_ranks_share_pairs_as_they_share_batches(root: Path) -> None:
    plain, masked = source(root, "plain"), source(root, "masked")
    whole = PairedBatches(TrainBatches(masked, 5, "light", 10), plain).batch(0, 1).second
    parts = [PairedBatches(TrainBatches(masked, 5, "light", 10, rank, 3), plain).batch(0, 1).second
             for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)


def test_parts_of_a_batch_have_their_parts_of_both_views(root: Path) -> None:
    batches = TrainBatches(source(root, "masked"), 5, "light", 10, rank=1, world=2)
    batch = PairedBatches(batches, source(root, "plain")).batch(0, 0)
    parts = batch.split(2)
    assert [len(part) for part in parts] == [2, 2] and parts[1].start == batch.start + 2
    assert torch.equal(torch.cat([part.second for part in parts]), batch.second)
    assert torch.equal(torch.cat([part.labels for part in parts]), batch.labels)
    assert batch.split(99) == [batch]


def test_pictures_without_a_twin_are_refused(root: Path) -> None:
    next((root / "masked/train/neutral").glob("*_0001.jpg")).unlink()
    batches = TrainBatches(source(root, "plain"), 5, "light", 12)
    with pytest.raises(CallerError, match="1 of 24 pictures have no counterpart, such as plain/"):
        PairedBatches(batches, source(root, "masked"))  # the other way round than in training


def test_equal_file_names_in_two_folders_are_different_pictures(root: Path) -> None:
    for folder in ("plain", "masked"):
        for cls in CLASSES:
            for path in sorted((root / folder / "train" / cls).glob("*.jpg")):
                twin = root / folder / "eval" / cls / path.name
                twin.parent.mkdir(parents=True, exist_ok=True)
                pixels = 255 - np.asarray(Image.open(path))
                Image.fromarray(pixels).save(twin, quality=95)

    def both_splits(name: str) -> Source:
        found = scan(name, root / name, CLASSES)
        pictures = [*found["train"], *found["eval"]]
        return Source([build_pack(pictures, CLASSES, SIZE, root / f"{name}-both", "d" * 32)])

    plain, masked = both_splits("plain"), both_splits("masked")
    assert partners_in(masked, plain).tolist() == list(range(plain.n))
