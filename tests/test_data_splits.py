"""Splits by name, and validation carved out by identity."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picture_sets import write_set

from fer.config.run import Data, DataSet, Resplit
from fer.data import layout
from fer.data.identity_split import fold_identities, split_identities
from fer.data.layout import Picture
from fer.data.splits import pictures_of, split_names
from fer.errors import CallerError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "lfw", {"train": 40, "eval": 4}, people=2)
    shutil.copytree(tmp_path / "lfw", tmp_path / "mlfw")
    write_set(tmp_path / "real", {"test": 3})
    return tmp_path


@pytest.fixture
def data() -> Data:
    sets = {"lfw": DataSet(folder="lfw"), "mlfw": DataSet(folder="mlfw", twin_of="lfw"),
            "cut": DataSet(folder="cut", twin_of="lfw"), "real": DataSet(folder="real")}
    return Data(sets=sets)


def identities(split: str, data: Data, root: Path) -> set[str]:
    return {picture.identity for picture in pictures_of(split, data, root)}


def test_nobody_validates_in_one_twin_and_trains_in_another(root: Path, data: Data) -> None:
    val = identities("lfw/val", data, root) | identities("mlfw/val", data, root)
    train = identities("lfw/train", data, root) | identities("mlfw/train", data, root)
    assert val and not val & train


def test_val_and_train_together_are_the_train_folder(root: Path, data: Data) -> None:
    parts = pictures_of("lfw/val", data, root) + pictures_of("lfw/train", data, root)
    assert len({picture.id for picture in parts}) == len(parts) == 120
    assert {p.split for p in parts} == {"train", "val"}


def test_each_class_gives_its_fraction_of_people(root: Path, data: Data) -> None:
    people = sorted(identities("lfw/val", data, root))
    assert [name.split("_")[0] for name in people] == [
        *["TrainNegative"] * 2, *["TrainNeutral"] * 2, *["TrainPositive"] * 2]


def test_adding_the_twin_does_not_move_validation(root: Path, data: Data) -> None:
    with_twin = identities("lfw/val", data, root)
    shutil.rmtree(root / "mlfw")
    assert identities("lfw/val", data, root) == with_twin


def test_another_seed_chooses_other_people(root: Path, data: Data) -> None:
    other = data.model_copy(update={"val_seed": 7})
    assert identities("lfw/val", data, root) != identities("lfw/val", other, root)


def test_an_own_val_folder_is_used_and_spares_train(root: Path, data: Data) -> None:
    write_set(root / "own", {"train": 8, "val": 2})
    own = Data(sets={"own": DataSet(folder="own")})
    assert len(pictures_of("own/val", own, root)) == 6
    assert len(pictures_of("own/train", own, root)) == 24


def test_people_of_a_twins_val_folder_leave_train(root: Path, data: Data) -> None:
    shutil.copytree(root / "lfw" / "train", root / "mlfw" / "val")
    for file in (root / "mlfw" / "val").glob("*/*_P*"):
        if "_P3_" not in file.name:
            file.unlink()
    val = identities("mlfw/val", data, root)
    assert identities("lfw/val", data, root) == val
    assert not identities("lfw/train", data, root) & val


def test_eval_and_test_are_the_folders(root: Path, data: Data) -> None:
    assert len(pictures_of("lfw/eval", data, root)) == 12
    assert len(pictures_of("real/test", data, root)) == 9


def test_split_names_leave_out_absent_sets(root: Path, data: Data) -> None:
    assert split_names(data, root) == ["lfw/eval", "lfw/train", "lfw/val", "mlfw/eval",
                                       "mlfw/train", "mlfw/val", "real/test"]


@pytest.mark.parametrize("split", ["lfw/test", "real/val", "nobody/train", "lfw"])
def test_an_unknown_split_error_lists_the_splits(split: str, root: Path, data: Data) -> None:
    with pytest.raises(CallerError, match=rf"no split '{split}'.*there are: .*real/test"):
        pictures_of(split, data, root)


def test_an_absent_set_error_says_what_to_set(root: Path, data: Data) -> None:
    with pytest.raises(CallerError, match=r"data\.sets\.cut\.folder"):
        pictures_of("cut/train", data, root)


def test_an_unknown_twin_is_an_error(root: Path) -> None:
    data = Data(sets={"lfw": DataSet(folder="lfw", twin_of="nobody")})
    with pytest.raises(CallerError, match=r"data\.sets\.lfw\.twin_of is 'nobody'.*there are: lfw"):
        pictures_of("lfw/val", data, root)


def test_twelve_splits_scan_each_set_once(
        root: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    scans: list[str] = []
    scan = layout._scan_split
    monkeypatch.setattr(layout, "_scan_split", lambda *a: scans.append(a[0]) or scan(*a))
    for _ in range(2):
        for split in ("lfw/train", "lfw/val", "lfw/eval", "mlfw/train", "mlfw/val", "mlfw/eval"):
            pictures_of(split, data, root)
    assert scans == ["lfw", "lfw", "mlfw", "mlfw"]  # two split folders each


def test_a_new_picture_is_seen_at_once(root: Path, data: Data) -> None:
    before = len(pictures_of("lfw/eval", data, root))
    place = root / "lfw" / "eval" / "neutral"
    shutil.copy(next(place.iterdir()), place / "New_Person_0001.jpg")
    assert len(pictures_of("lfw/eval", data, root)) == before + 1


def people(labels: dict[str, list[int]]) -> list[Picture]:
    return [Picture("a", "train", f"train/{label}/{who}_{i:04d}.jpg", Path(), label, who)
            for who, its in labels.items() for i, label in enumerate(its)]


SOME_PEOPLE = st.dictionaries(st.text("abcdef", min_size=1, max_size=4),
                              st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=1)


@given(SOME_PEOPLE, st.randoms(use_true_random=False))
def test_carving_does_not_depend_on_file_system_order(
        labels: dict[str, list[int]], shuffler: random.Random) -> None:
    pictures = people(labels)
    shuffled = list(pictures)
    shuffler.shuffle(shuffled)
    assert split_identities(pictures, 0.2, 1) == split_identities(shuffled, 0.2, 1)


@given(SOME_PEOPLE, st.sampled_from([0.1, 0.5, 0.99]))
def test_carving_never_takes_everyone_of_a_class(
        labels: dict[str, list[int]], fraction: float) -> None:
    pictures = people(labels)
    left = {p.label for p in pictures if p.identity not in split_identities(pictures, fraction, 1)}
    assert left == {p.label for p in pictures}


def test_a_person_belongs_to_the_rarest_class_they_show() -> None:
    both = {f"both{i}": [0, 1] for i in range(10)}
    neutral = {f"neutral{i}": [1] for i in range(100)}
    chosen = split_identities(people(both | neutral), 0.2, 3)
    assert sum(name.startswith("both") for name in chosen) == 2
    assert sum(name.startswith("neutral") for name in chosen) == 20


def test_the_chosen_people_never_change() -> None:
    chosen = split_identities(people({f"Person_{i}": [i % 3] for i in range(30)}), 0.1, 1234)
    assert sorted(chosen) == ["Person_11", "Person_3", "Person_7"]


@given(SOME_PEOPLE, st.integers(2, 5), st.randoms(use_true_random=False))
def test_everybody_is_dealt_into_one_fold_whatever_the_order(
        labels: dict[str, list[int]], count: int, shuffler: random.Random) -> None:
    pictures = people(labels)
    shuffled = list(pictures)
    shuffler.shuffle(shuffled)
    folds = fold_identities(pictures, count, 1)
    assert folds == fold_identities(shuffled, count, 1) and set(folds) == set(labels)
    sizes = [list(folds.values()).count(fold) for fold in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_folds_have_each_class_in_its_share() -> None:
    folds = fold_identities(people({f"{'abc'[label]}{i}": [label] for label,
                                    count in enumerate((20, 40, 60))
                                    for i in range(count)}), 5, 1)
    for fold in range(5):
        there = [who[0] for who, its in folds.items() if its == fold]
        assert [there.count(name) for name in "abc"] == [4, 8, 12]


def test_the_folds_never_change() -> None:
    folds = fold_identities(people({f"Person_{i}": [i % 3] for i in range(12)}), 3, 1234)
    assert sorted(who for who, fold in folds.items() if fold == 0) == [
        "Person_3", "Person_4", "Person_6", "Person_8"]


def resplit(data: Data, fold: int = 0, of: int = 4) -> Data:
    return data.model_copy(update={"resplit": Resplit(fold=fold, of=of)})


def test_the_folds_of_a_family_share_nobody_and_leave_nobody_out(root: Path, data: Data) -> None:
    everybody = identities("lfw/eval", data, root) | {
        name for part in ("train", "val") for name in identities(f"lfw/{part}", data, root)}
    tested = []
    for fold in range(4):
        again = resplit(data, fold)
        parts = {part: {name for member in ("lfw", "mlfw")
                        for name in identities(f"{member}/{part}", again, root)}
                 for part in ("train", "val", "eval")}
        assert set.union(*parts.values()) == everybody
        assert sum(map(len, parts.values())) == len(everybody) and all(parts.values())
        tested.append(parts["eval"])
    assert set.union(*tested) == everybody and sum(map(len, tested)) == len(everybody)


def test_a_fold_keeps_the_names_of_its_pictures(root: Path, data: Data) -> None:
    before = {p.id for part in ("train", "val", "eval")
              for p in pictures_of(f"lfw/{part}", data, root)}
    again = resplit(data)
    after = [p for part in ("train", "val", "eval")
             for p in pictures_of(f"lfw/{part}", again, root)]
    assert {p.id for p in after} == before and len(after) == len(before)
    assert {p.split for p in after} == {"train", "val", "eval"}


def test_a_set_without_train_is_not_dealt_out(root: Path, data: Data) -> None:
    assert pictures_of("real/test", resplit(data), root) == pictures_of("real/test", data, root)


def test_a_fold_that_nobody_is_in_is_refused(root: Path, data: Data) -> None:
    with pytest.raises(CallerError, match="too few people for 4000 folds"):
        pictures_of("lfw/eval", resplit(data, fold=3999, of=4000), root)


def test_people_whose_files_have_equal_names_in_two_folders_are_dealt_out_too() -> None:
    own = [Picture("a", split, f"{split}/0/{i:04d}.jpg", Path(), 0, f"{split}{i}")
           for split in ("train", "eval") for i in range(6)]
    assert fold_identities(own, 3, 1).keys() == {p.identity for p in own}


def test_twins_that_call_one_picture_different_people_are_refused(root: Path, data: Data) -> None:
    (root / "lfw/pictures.csv").write_text(
        "file,identity\ntrain/neutral/TrainNeutral_P0_0001.jpg,Somebody_Else\n")
    for asked in (data, resplit(data)):
        with pytest.raises(CallerError, match=r"Somebody_Else.*'lfw'.*'mlfw'.*pictures.csv"):
            pictures_of("lfw/train", asked, root)


def test_a_set_that_nobody_is_tested_on_is_not_dealt_out(root: Path, data: Data) -> None:
    write_set(root / "people", {"train": 20}, seed=500)
    more = data.model_copy(update={"sets": {**data.sets, "people": DataSet(folder="people")}})
    plain, dealt = (pictures_of("people/train", asked, root) for asked in (more, resplit(more)))
    assert plain == dealt
    assert "people/eval" not in split_names(resplit(more), root)
    assert {"lfw/eval", "mlfw/eval"} <= set(split_names(resplit(more), root))
