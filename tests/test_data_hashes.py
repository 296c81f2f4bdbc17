"""Perceptual hashes of pictures: what they are made from, and which are alike."""

from pathlib import Path

import numpy as np
import pytest
from picture_sets import smooth
from PIL import Image

from fer.data.layout import Picture
from fer.data.verify import findings as check
from fer.data.verify.inspection import inspect_pictures


def test_alike_hashes_are_found_in_blocks_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 2, (9, 256), dtype=np.uint8)
    flipped = rng.random((60, 256)) < rng.choice([0.01, 0.05, 0.1], (60, 1))
    prints = np.packbits(originals[rng.integers(0, 9, 60)] ^ flipped, axis=1).view(np.uint64)
    prints[1] = ~prints[0]  # all bits differ
    groups = rng.integers(0, 3, 60)
    expected = [(i, j) for i in range(60) for j in range(i + 1, 60) if groups[i] != groups[j]
                and int(np.bitwise_count(prints[i] ^ prints[j]).sum()) <= check.NEAR_BITS]
    assert 20 < len(expected) < 300
    assert list(check._near_prints(prints, groups)) == expected
    monkeypatch.setattr(check, "ROWS", 7)
    monkeypatch.setattr(check, "COLUMNS", 11)
    assert list(check._near_prints(prints, groups)) == expected


def test_hashes_are_those_of_the_whole_picture_in_grey(tmp_path: Path) -> None:
    """A grey picture stays grey on the way; its hash is that of the same picture in colour."""
    smooth(1, side=64).convert("L").save(tmp_path / "grey.png")
    smooth(1, side=64).convert("L").convert("RGB").save(tmp_path / "colour.png")
    looks = inspect_pictures([Picture("x", "train", f"train/a/{name}", tmp_path / name, 0, "")
                              for name in ("grey.png", "colour.png")])
    assert looks.prints.any() and np.array_equal(*looks.prints) and np.array_equal(*looks.thumbs)
    with Image.open(tmp_path / "grey.png") as grey:
        small = np.asarray(grey.resize((17, 16), Image.Resampling.BOX), int)
    bits = np.unpackbits(looks.prints[0].view(np.uint8)).reshape(16, 16)
    assert np.array_equal(bits, small[:, 1:] > small[:, :-1])
