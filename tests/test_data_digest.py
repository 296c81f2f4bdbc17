"""What the digest of a split follows, and what it costs."""

import json
import os
import shutil
from pathlib import Path

import pytest
from picture_sets import CLASSES, smooth, write_set

from fer.data import digest
from fer.data.digest import split_digest
from fer.data.layout import Picture, scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = write_set(tmp_path / "lfw", {"train": 3})
    for file in place.glob("*/*/*"):
        os.utime(file, (1e9, 1e9))  # long settled
    return place


def train(folder: Path, name: str = "lfw") -> list[Picture]:
    return scan(name, folder, CLASSES)["train"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []
    original = digest._file_digest
    monkeypatch.setattr(digest, "_file_digest", lambda path: paths.append(path) or original(path))
    return paths


def test_a_digest_is_32_hexadecimal_digits(folder: Path) -> None:
    value = split_digest(train(folder))
    assert len(value) == 32 and int(value, 16) >= 0


def test_renaming_folder_and_set_keeps_the_digest(folder: Path) -> None:
    before = split_digest(train(folder))
    assert split_digest(train(folder.rename(folder.with_name("other")), "other")) == before


def test_order_of_pictures_keeps_the_digest(folder: Path) -> None:
    assert split_digest(train(folder)) == split_digest(train(folder)[::-1])


def test_another_content_changes_the_digest(folder: Path, tmp_path: Path) -> None:
    before = split_digest(train(folder), tmp_path)
    smooth(999).save(train(folder)[0].path)
    assert split_digest(train(folder), tmp_path) != before


def test_another_label_changes_the_digest(folder: Path) -> None:
    before = split_digest(train(folder))
    picture = train(folder)[0].path
    shutil.move(picture, folder / "train" / "positive" / picture.name)
    assert split_digest(train(folder)) != before


def test_another_name_changes_the_digest(folder: Path) -> None:
    before = split_digest(train(folder))
    train(folder)[0].path.rename(folder / "train" / "negative" / "Someone_Else_0001.jpg")
    assert split_digest(train(folder)) != before


def test_a_second_digest_reads_no_picture(folder: Path, tmp_path: Path, reads: list[Path]) -> None:
    first = split_digest(train(folder), tmp_path)
    assert len(reads) == 9
    assert split_digest(train(folder), tmp_path) == first and len(reads) == 9


def test_only_a_changed_picture_is_read_again(
        folder: Path, tmp_path: Path, reads: list[Path]) -> None:
    split_digest(train(folder), tmp_path)
    changed = train(folder)[4].path
    os.utime(changed, (1.1e9, 1.1e9))
    split_digest(train(folder), tmp_path)
    assert reads[9:] == [changed]


def test_a_picture_changed_just_now_is_not_remembered(
        folder: Path, tmp_path: Path, reads: list[Path]) -> None:
    fresh = train(folder)[0].path
    os.utime(fresh)
    split_digest(train(folder), tmp_path)
    split_digest(train(folder), tmp_path)
    assert reads[9:] == [fresh]


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"a": 3}', '{"a": [1, 2]}', "\xff"])
def test_a_damaged_record_is_rebuilt(
        folder: Path, tmp_path: Path, reads: list[Path], damage: str) -> None:
    first = split_digest(train(folder), tmp_path)
    records = list((tmp_path / "digests").iterdir())
    for record in records:
        record.write_text(damage, encoding="latin-1")
    assert split_digest(train(folder), tmp_path) == first
    split_digest(train(folder), tmp_path)
    assert len(records) == 3 and len(reads) == 18


@pytest.mark.parametrize(("place", "value"), [
    (0, float("inf")), (1, 1e400), (1, None), (2, "not a digest"), (2, 7)])
def test_an_entry_that_is_damaged_is_rebuilt(
        folder: Path, tmp_path: Path, reads: list[Path], place: int, value: object) -> None:
    first = split_digest(train(folder), tmp_path)
    for record in (tmp_path / "digests").iterdir():
        content = json.loads(record.read_text())
        next(iter(content.values()))[place] = value
        record.write_text(json.dumps(content).replace("Infinity", "1e999"))
    assert split_digest(train(folder), tmp_path) == first
    assert len(reads) == 9 + 3  # of each folder the one whose entry was damaged


def test_without_a_cache_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    split_digest(train(folder))
    assert not (tmp_path / "digests").exists()
