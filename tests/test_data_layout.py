"""Finding the pictures of a data set on disk."""

import shutil
from pathlib import Path

import pytest
from picture_sets import CLASSES, write_set

from fer.data.digest import split_digest
from fer.data.layout import discover, scan
from fer.errors import CallerError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "LFW-FER", {"train": 3, "eval": 2})


def test_a_picture_knows_its_set_split_label_identity_and_pair(folder: Path) -> None:
    picture = scan("lfw", folder, CLASSES)["train"][3]
    assert picture.id == "lfw/train/neutral/TrainNeutral_P0_0001.jpg"
    assert (picture.split, picture.label, picture.identity, picture.pair_key) == (
        "train", 1, "TrainNeutral_P0", "TrainNeutral_P0_0001")
    assert picture.path.is_file()


def test_pictures_are_sorted_by_relative_path(folder: Path) -> None:
    relatives = [picture.relative for picture in scan("lfw", folder, CLASSES)["train"]]
    assert relatives == sorted(relatives) and len(relatives) == 9


def test_a_doubly_nested_top_folder_is_descended(folder: Path, tmp_path: Path) -> None:
    nested = tmp_path / "outer" / "LFW-FER" / "LFW-FER"
    nested.parent.mkdir(parents=True)
    shutil.move(folder, nested)
    (tmp_path / "outer" / "__MACOSX" / "train").mkdir(parents=True)
    assert discover(tmp_path / "outer") == nested


def test_letter_case_of_folders_does_not_change_ids(folder: Path) -> None:
    before = {picture.id for picture in scan("lfw", folder, CLASSES)["train"]}
    (folder / "train" / "neutral").rename(folder / "train" / "Neutral")
    (folder / "train").rename(folder / "TRAIN")
    assert {picture.id for picture in scan("lfw", folder, CLASSES)["train"]} == before


def test_stray_and_hidden_files_are_no_pictures(folder: Path) -> None:
    place = folder / "train" / "neutral"
    for name in ("Thumbs.db", ".DS_Store", "._A_0001.jpg", "notes.txt"):
        (place / name).write_text("x")
    (folder / "train" / "__MACOSX").mkdir()
    assert len(scan("lfw", folder, CLASSES)["train"]) == 9


def test_a_missing_folder_error_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(CallerError, match=r"nowhere.*FER_DATA.*data\.sets\.lfw\.folder"):
        scan("lfw", tmp_path / "nowhere", CLASSES)


def test_a_folder_without_splits_error_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "set" / "neutral").mkdir(parents=True)
    with pytest.raises(CallerError, match=r"train, val, eval, test.*found: neutral"):
        scan("lfw", tmp_path / "set", CLASSES)


def test_a_folder_with_two_sets_error_names_both(tmp_path: Path) -> None:
    write_set(tmp_path / "a", {"train": 1})
    write_set(tmp_path / "b", {"train": 1})
    with pytest.raises(CallerError, match="more than one data set: a, b"):
        discover(tmp_path)


def test_an_unknown_class_error_lists_the_classes(folder: Path) -> None:
    (folder / "eval" / "surprised").mkdir()
    with pytest.raises(CallerError, match=r"surprised is not a class.*negative, neutral, positive"):
        scan("lfw", folder, CLASSES)


@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_or_empty_class_is_an_error(folder: Path, empty: bool) -> None:
    shutil.rmtree(folder / "eval" / "positive")
    if empty:
        (folder / "eval" / "positive").mkdir()
    with pytest.raises(CallerError, match=r"eval has no pictures of positive"):
        scan("lfw", folder, CLASSES)


def test_a_folder_inside_a_class_is_an_error(folder: Path) -> None:
    (folder / "train" / "neutral" / "more").mkdir()
    with pytest.raises(CallerError, match="inside a class folder"):
        scan("lfw", folder, CLASSES)


def test_two_pictures_with_one_id_are_an_error(folder: Path) -> None:
    (folder / "train" / "Neutral").mkdir()
    source = folder / "train" / "neutral" / "TrainNeutral_P0_0001.jpg"
    shutil.copy(source, folder / "train" / "Neutral" / source.name)
    with pytest.raises(CallerError, match=r"two pictures have the id lfw/train/neutral/TrainN"):
        scan("lfw", folder, CLASSES)


def test_people_named_in_pictures_csv_count_instead_of_those_in_file_names(tmp_path: Path) -> None:
    write_set(tmp_path, {"train": 2})
    before = scan("s", tmp_path, CLASSES)["train"]
    (tmp_path / "pictures.csv").write_text(f"file,identity,pose\n{before[0].relative},Ann,left\n")
    after = scan("s", tmp_path, CLASSES)["train"]
    assert after[0].identity == "Ann" and after[1:] == before[1:]
    assert split_digest(after) != split_digest(before)  # else packs would keep the old names
    (tmp_path / "pictures.csv").write_text("name,identity\na,b\n")
    with pytest.raises(CallerError, match="no column 'file'"):
        scan("s", tmp_path, CLASSES)
