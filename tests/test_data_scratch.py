"""Packs are copied once to a node's own disk, where a profile names one."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from picture_sets import data_of, write_set

from fer.data import node_cache as scratch
from fer.data.node_cache import node_copy
from fer.data.pack import Pack, ensure_pack


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    write_set(tmp_path / "data/SET", {"train": 6})
    return ensure_pack("set/train", data_of(set="SET"), tmp_path / "data", 16, tmp_path / "cache")


def test_without_a_scratch_folder_the_pack_itself_is_used(pack: Pack) -> None:
    assert node_copy(pack, None) is pack


def test_a_pack_is_copied_once_and_has_the_same_pictures(pack: Pack, tmp_path: Path) -> None:
    copy = node_copy(pack, tmp_path / "node disk")
    assert tmp_path / "node disk" in copy.folder.parents
    assert np.array_equal(copy.pixels, pack.pixels) and copy.index().equals(pack.index())
    made = (copy.folder / "pixels.npy").stat().st_mtime_ns
    assert (node_copy(pack, tmp_path / "node disk").folder / "pixels.npy"
            ).stat().st_mtime_ns == made


def test_a_damaged_copy_is_made_anew(pack: Pack, tmp_path: Path) -> None:
    copy = node_copy(pack, tmp_path / "node")
    (copy.folder / "labels.npy").write_bytes(b"")
    again = node_copy(pack, tmp_path / "node")
    assert again.folder == copy.folder and np.array_equal(again.labels, pack.labels)


def test_without_room_the_pack_itself_is_used(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(scratch.shutil, "disk_usage", lambda _: usage(10, 10, 0))
    assert node_copy(pack, tmp_path / "node") is pack


def test_a_copy_in_which_somebody_put_other_labels_is_made_anew(
    pack: Pack, tmp_path: Path
) -> None:
    copy = node_copy(pack, tmp_path / "node")
    np.save(copy.folder / "labels.npy", np.zeros_like(pack.labels))
    again = node_copy(pack, tmp_path / "node")
    assert again.folder == copy.folder and np.array_equal(again.labels, pack.labels)
