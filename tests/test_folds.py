"""Folds by person: who is in which, ids, a study's grid, advice, and pooled predictions."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from picture_sets import write_set

from fer.config.folds import folds_advice
from fer.config.load import load_run, load_study
from fer.config.person_splits import Folds
from fer.config.run import Data, DataSet, RunConfig
from fer.data.identity_split import balanced_folds
from fer.data.layout import Picture
from fer.data.splits import pictures_of
from fer.errors import CallerError
from fer.study.expand import Run, expand
from fer.study.inputs import InputDigests

STUDY = """
schema: 1
study: folded
base: configs/drawn.yaml
grid: {recipe: [scratch], train_on: [lfw], seed: [0, 1]}
set: {train.folds: 3, data.drawn: null}
evaluate_on: [real/test]
"""


def folded(data: Data, fold: int, of: int = 3) -> Data:
    return data.model_copy(update={"folds": Folds(fold=fold, of=of)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "lfw", {"train": 18, "val": 6, "eval": 4}, people=2)
    write_set(tmp_path / "mlfw", {"train": 18, "val": 6}, people=2)
    write_set(tmp_path / "real", {"test": 3})
    return tmp_path


@pytest.fixture
def data() -> Data:
    return Data(sets={"lfw": DataSet(folder="lfw"), "mlfw": DataSet(folder="mlfw", twin_of="lfw"),
                      "real": DataSet(folder="real")})


def test_every_person_of_train_and_val_validates_once(root: Path, data: Data) -> None:
    whole = {p.id for part in ("train", "val") for p in pictures_of(f"lfw/{part}", data, root)}
    seen: Counter[str] = Counter()
    for fold in range(3):
        mine = folded(data, fold)
        people = {part: {p.unit for name in ("lfw", "mlfw")
                         for p in pictures_of(f"{name}/{part}", mine, root)}
                  for part in ("train", "val")}
        assert people["val"] and not people["train"] & people["val"]
        val, train = (pictures_of(f"lfw/{part}", mine, root) for part in ("val", "train"))
        assert {p.id for p in (*val, *train)} == whole and len(val) + len(train) == len(whole)
        assert {p.split for p in val} == {"val"} and {p.split for p in train} == {"train"}
        seen.update(p.id for p in val)
    assert seen == Counter(whole)


def test_test_sets_do_not_depend_on_folds(root: Path, data: Data) -> None:
    assert pictures_of("lfw/eval", folded(data, 1), root) == pictures_of("lfw/eval", data, root)


def test_too_few_people_for_the_folds_are_one_line(root: Path, data: Data) -> None:
    with pytest.raises(CallerError, match="40 folds need as many people; 'lfw' has 36 in train"):
        pictures_of("lfw/val", folded(data, 0, 40), root)


def pictures(people: dict[str, list[int]]) -> list[Picture]:
    return [Picture("a", "train", f"train/{label}/{who}_{number:04d}.jpg", Path(), label, who)
            for who, labels in people.items() for number, label in enumerate(labels)]


def test_classes_are_balanced_although_people_have_unequal_numbers_of_pictures() -> None:
    random = np.random.default_rng(1)
    people = {f"Person_{i}": random.choice(3, random.geometric(0.15), p=[0.1, 0.35, 0.55]).tolist()
              for i in range(60)}
    found = pictures(people)
    folds = balanced_folds(found, 5, 1234)
    assert folds == balanced_folds(found[::-1], 5, 1234)
    counts = np.zeros((5, 3))
    for one in found:
        counts[folds[one.identity], one.label] += 1
    assert (np.abs(counts / counts.mean(0) - 1) < 0.25).all()


def test_a_class_of_one_person_cannot_be_folded(tmp_path: Path) -> None:
    write_set(tmp_path / "lfw", {"train": 9}, people=1)
    for file in sorted((tmp_path / "lfw/train/neutral").iterdir()):
        file.rename(file.with_name(f"Ada_Lovelace_{file.stem[-4:]}.jpg"))
    mine = folded(Data(sets={"lfw": DataSet(folder="lfw")}), 0)
    with pytest.raises(CallerError, match="class 'neutral' in 'lfw' are of too few people"):
        pictures_of("lfw/val", mine, tmp_path)


def expanded(tmp_path: Path, root: Path, text: str = STUDY) -> list[Run]:
    file = tmp_path / "folded.yaml"
    file.write_text(text.replace("data.drawn: null", f"data.drawn: null, data.sets: {{lfw: "
                                 f"{{folder: {root}/lfw}}, mlfw: {{folder: {root}/mlfw, twin_of: "
                                 f"lfw}}, real: {{folder: {root}/real}}}}"))
    return expand(load_study(file), InputDigests(root, tmp_path / "cache"))


def test_a_study_trains_each_fold_and_they_share_the_configuration_id(tmp_path: Path, root: Path
                                                                      ) -> None:
    runs = expanded(tmp_path, root)
    assert [(run.config.seed, run.config.train.fold) for run in runs] == [
        (seed, fold) for seed in (0, 1) for fold in range(3)]
    assert len({run.id for run in runs}) == 6 and len({run.config_id for run in runs}) == 1
    assert all(run.config.data.folds == Folds(fold=run.config.train.fold, of=3) for run in runs)
    (whole, *_) = expanded(tmp_path, root, STUDY.replace("train.folds: 3, ", ""))
    assert whole.config_id != runs[0].config_id


def test_a_changed_picture_of_any_fold_changes_the_configuration_id(tmp_path: Path, root: Path
                                                                    ) -> None:
    before = expanded(tmp_path, root)[0].config_id
    victim = next((root / "lfw/val/neutral").iterdir())
    victim.write_bytes(victim.read_bytes() + b"!")
    assert expanded(tmp_path, root)[0].config_id != before


@pytest.mark.parametrize(("old", "new", "said"), [
    ("train.folds: 3", "train.folds: 1", "train.folds: a whole number from 2 on, not 1"),
    ("seed: [0, 1]", "train.folds: [2, 3]", "one number for the whole study"),
    ("[real/test]", "[real/test, lfw/val]", "evaluate_on: lfw/val: with train.folds"),
    ("train.folds: 3", "train.fold: 3", "fold: 3 of how many"),
    ("train.folds: 3", "train.folds: 3, train.fold: 3", "no fold 3, one of 0 to 2")])
def test_mistakes_are_one_line(tmp_path: Path, root: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(CallerError, match=said):
        expanded(tmp_path, root, STUDY.replace(old, new))


def test_one_run_names_its_fold() -> None:
    with pytest.raises(CallerError, match=r"one run needs train\.fold, one of 0 to 4"):
        load_run("configs/drawn.yaml", {"train_on": "lfw", "train.folds": 5})


def of_fold(**overrides: object) -> RunConfig:
    return load_run("configs/drawn.yaml", {"train_on": "mlfw", "train.folds": 5, "train.fold": 2,
                                           **overrides})


def test_parents_on_the_same_people_have_the_same_fold_and_others_have_none() -> None:
    chain = of_fold(recipe="lfw_then_target")
    parent = chain.parents["init"]
    assert parent.train_on == "lfw" and parent.data.folds == Folds(fold=2, of=5)
    (pretraining,) = of_fold(recipe="lp_ft").parents.values()
    assert pretraining.train_on == "people" and pretraining.data.folds is None
    assert pretraining == of_fold(recipe="lp_ft", **{"train.fold": 3}).parents["init"]


def test_a_teacher_does_not_see_the_students_validation() -> None:
    teacher = of_fold(recipe="distill").parents["teacher"]
    assert teacher.data.folds == Folds(fold=2, of=5)


def test_folds_are_recommended_where_few_people_validate() -> None:
    assert folds_advice(2000, 200) == ""
    assert "validation has 9 people: UAR on it has a standard error of about 14 points" in (
        folds_advice(70, 9))
