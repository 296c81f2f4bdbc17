"""Folds by person: who is in which, ids, a study's grid, advice, and pooled predictions."""

import csv
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, finished_study, launch
from picture_sets import write_set

from fer.config.fold_grid import folds_advice
from fer.config.load import apply, load_run, load_study, locate, read_based, resolve
from fer.config.person_splits import Folds
from fer.config.run import Data, DataSet, RunConfig
from fer.data.identity_split import balanced_folds
from fer.data.layout import Picture
from fer.data.splits import pictures_of
from fer.errors import CallerError
from fer.evaluate.ensembles import mean_of
from fer.evaluate.metrics import measure, validation_scores
from fer.evaluate.predictions import Predictions
from fer.report.fold_members import merge_folds
from fer.report.read.load_results import LoadedResults, Measured
from fer.report.read.run_files import ReportRun
from fer.search.fold_trial import FoldScores, pooled_score
from fer.study.expand import Run, expand
from fer.study.folds import validation_predictions
from fer.study.inputs import InputDigests
from fer.study.run_folder import RunFolder, Store
from fer.study.study_folder import read_study

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
    for _ in range(20):
        assert folds == balanced_folds(random.permutation(np.array(found, object)), 5, 1234)
    counts = np.zeros((5, 3))
    for one in found:
        counts[folds[one.identity], one.label] += 1
    assert (np.abs(counts / counts.mean(0) - 1) < 0.25).all()


def test_every_process_deals_the_same_folds() -> None:
    """Sets of texts have another order in each."""
    code = ("import sys; from pathlib import Path; from random import Random;"
            "from fer.data.layout import Picture;"
            "from fer.data.identity_split import balanced_folds;"
            "random = Random(1); names = [f'P_{i}' for i in range(150)];"
            "found = [Picture('a', 'train', f'train/{n}/{who}_{n:04d}.jpg', Path(), "
            "random.randrange(3), who) for who in names for n in range(random.randrange(1, 12))];"
            "print(sorted(balanced_folds(found, 5, 1).items()))")
    said = {subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": str(seed)},
                           cwd=REPOSITORY, text=True, capture_output=True, check=True).stdout
            for seed in range(4)}
    assert len(said) == 1


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
    ("train.folds: 3", "train.folds: 3, train.fold: 3", "fold: 3 is none of the folds 0 to 2"),
    ("seed: [0, 1]", "train.fold: [0, true]", "train.fold: True is none of the folds"),
    ("train.folds: 3", "train.folds: 3.0", "a whole number from 2 on, not 3.0")])
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


def ancestors(config: RunConfig) -> list[RunConfig]:
    return [one for parent in config.parents.values() for one in (parent, *ancestors(parent))]


@pytest.mark.parametrize("order", [["people", "mlfw"], ["mlfw", "people"], ["lfw", "people"]])
@pytest.mark.parametrize("recipe", ["lfw_then_target", "lp_ft"])
def test_what_else_a_study_trains_lets_no_parent_see_validation(
    recipe: str, order: list[str]
) -> None:
    known: dict[str, RunConfig] = {}
    tree = apply(read_based(locate("configs/drawn.yaml")), {"train.folds": 3, "train.fold": 1}, "x")
    for train_on in order:
        run = resolve(apply(tree, {"recipe": recipe, "train_on": train_on}, "x"), "x", known)
        assert run == resolve(apply(tree, {"recipe": recipe, "train_on": train_on}, "x"), "x")
        (parent,) = run.parents.values()
        shared = "people" not in (train_on, parent.train_on) or train_on == parent.train_on
        assert (parent.data.folds is not None) == shared


@pytest.mark.parametrize("more", [
    {"train_on": "people", "recipe": "lfw_then_target"}, {"train": {"epochs": 2}},
    {"train.folds": None, "train.fold": None}, {"train.fold": 1}])
def test_no_ancestor_sees_validation_whatever_its_overrides_say(more: dict[str, object]) -> None:
    run = of_fold(train_on="lfw", recipe="lfw_then_target", **{
        "recipe.init.set": {"train_on": "lfw", "recipe": "scratch", **more}})
    on_people = [one for one in ancestors(run) if one.train_on == "lfw"]
    assert on_people and all(one.data.folds == Folds(fold=2, of=5) for one in on_people)


@pytest.mark.parametrize("more", [
    {"data.folds": {"of": 3, "fold": 1}}, {"data.folds.of": 3}, {"data.folds": {}},
    {"data": {"folds": {"of": 3, "fold": 1}, "sets": {"lfw": {"folder": "x"}}}}])
def test_folds_of_the_data_are_not_set_by_hand(more: dict[str, object]) -> None:
    with pytest.raises(CallerError, match=r"follows from train\.folds"):
        load_run("configs/drawn.yaml", {"train_on": "lfw", "evaluate_on": [], **more})


def test_folds_of_the_data_are_not_set_by_a_study(tmp_path: Path, root: Path) -> None:
    for old, new in (("train.folds: 3", "data.folds: {of: 3, fold: 1}"),
                     ("seed: [0, 1]", "data.folds: [{of: 3, fold: 0}, {of: 3, fold: 1}]")):
        own = STUDY.replace("train.folds: 3, ", "") if "[" in new else STUDY
        with pytest.raises(CallerError, match=r"follows from train\.folds"):
            expanded(tmp_path, root, own.replace(old, new))


def test_unlabelled_pictures_are_those_of_no_fold() -> None:
    with pytest.raises(CallerError, match=r"lfw/val is another one in each fold"):
        of_fold(recipe="bn_real", **{"recipe.combine.unlabelled": "lfw/val"})


def test_a_teacher_does_not_see_the_students_validation() -> None:
    teacher = of_fold(recipe="distill").parents["teacher"]
    assert teacher.data.folds == Folds(fold=2, of=5)


def test_folds_are_recommended_where_few_people_validate() -> None:
    assert folds_advice(2000, 200) == ""
    assert "validation has 9 people: UAR on it has a standard error of about 14 points" in (
        folds_advice(70, 9))


def run_of(fold: int | None, seed: int = 0, config: str = "c") -> ReportRun:
    return ReportRun(f"run-{config}-{seed}-{fold}", f"{config}{seed}{fold}", config, "b", "r",
                     "lfw", seed, Path(), "done", fold=fold)


def predicted(names: list[str], logits: np.ndarray) -> Predictions:
    return Predictions(names, [f"Person_{name}" for name in names], np.arange(len(names)) % 3,
                       logits.astype(np.float32), ("a", "b", "c"))


def loaded(runs: list[ReportRun], lost: str = "") -> LoadedResults:
    """Return results in which fold k validates on pictures of its own and all test on six."""
    rng = np.random.default_rng(1)
    measured, validation = {}, {}
    for run in runs:
        table = predicted([f"t{i}" for i in range(6)], rng.normal(size=(6, 3)))
        if run.run != lost:
            measured[run.run, "real/test"] = Measured(
                run, "real/test", "d", measure(table.labels, table.logits, table.classes), table)
        validation[run.run] = predicted([f"v{run.fold}-{i}" for i in range(6)],
                                        rng.normal(size=(6, 3)))
    return LoadedResults(tuple(runs), ("real/test",), measured, validation, ())


def test_in_a_report_the_folds_of_a_seed_are_one_ensemble_and_one_validation() -> None:
    runs = [run_of(fold, seed) for seed in (0, 1) for fold in range(3)]
    before = loaded(runs)
    found, (said,) = merge_folds(before)
    assert "mean of the probabilities of 3 models, one a fold" in said and "fair" not in said
    assert [run.members for run in found.runs] == [
        tuple(run.run for run in runs[:3]), tuple(run.run for run in runs[3:])]
    mean = mean_of([before.measured[run.run, "real/test"].predictions for run in runs[:3]])
    one = found.measured[runs[0].run, "real/test"]
    assert np.array_equal(one.predictions.logits, mean.logits)
    assert one.metrics["n"] == 6 and len(found.measured) == 2
    assert found.validation[runs[0].run].sample_ids == [
        f"v{fold}-{i}" for fold in range(3) for i in range(6)]


def test_a_seed_with_a_missing_fold_is_left_out_and_named() -> None:
    runs = [run_of(fold, seed) for seed in (0, 1) for fold in range(3)]
    found, _ = merge_folds(loaded(runs, lost=runs[4].run))
    assert set(found.measured) == {(runs[0].run, "real/test")}
    assert found.problems == ("r on lfw, seed 1: real/test is left out, since not all of its "
                              "folds have predictions on it",)


def test_some_of_the_folds_are_not_called_all() -> None:
    runs = [replace(run_of(fold), folds=3) for fold in range(2)]
    found, _ = merge_folds(loaded(runs))
    assert found.validation == {}
    assert found.problems == ("r on lfw, seed 0: 2 of 3 folds are in this study, so validation is "
                              "not pooled",)


def test_results_without_folds_stay_as_they_are() -> None:
    before = loaded([run_of(None, seed) for seed in (0, 1)])
    assert merge_folds(before) == (before, [])


def line(epoch: int, uar: float) -> dict[str, object]:
    return {"epoch": epoch, "phase": "all", "val_uar": uar}


def test_a_trial_on_folds_scores_the_mean_over_the_folds_so_far() -> None:
    scores = FoldScores("uar", "", False)
    assert scores.after(line(0, 0.5)) == 0.5 and scores.after(line(1, 0.7)) == 0.7
    scores.next_fold(2, 0.0)
    assert scores.after(line(0, 0.3)) == pytest.approx(0.5)
    again = FoldScores("uar", "", False)
    again.restore(json.loads(json.dumps(scores.to_json())))
    assert again.after(line(1, 0.5)) == scores.after(line(1, 0.5)) == pytest.approx(0.6)
    assert (again.fold, again.epochs) == (1, 2)


@pytest.mark.slow
def test_a_folded_study_reports_ensembles_and_pools_validation(tmp_path: Path, toy_data: Path
                                                               ) -> None:
    env = finished_study(tmp_path, toy_data, {"recipe": ["scratch"], "seed": [0]},
                         {"train.folds": 2, "train.epochs": 1})
    store = Store(Path(env["FER_HOME"]))
    report = store.study("toy") / "report"
    results = list(csv.DictReader((report / "results.csv").open()))
    assert len({row["run"] for row in results}) == 2
    assert len({row["config_id"] for row in results}) == 1
    (uar, *_) = csv.DictReader((report / "out_of_fold.csv").open())
    runs = [folder for _, folder in read_study(store, "toy").runs(store)]
    table, said = validation_predictions(runs[0])
    assert said == "lfw/val, out of fold over 2 folds" and uar["metric"] == "uar"
    whole = validation_scores(table.labels, table.logits)["uar"]
    assert float(uar["score"]) == pytest.approx(whole, abs=1e-6) == pooled_score(
        [folder.path for folder in runs], "uar")
    assert int(uar["n"]) == len(table) == len(set(table.sample_ids))
    assert "one a fold, each trained without the people" in (report / "report.md").read_text()
    assert "Out of fold" in (report / "index.html").read_text()
    config = runs[1].path / "config.yaml"  # what is in no id makes no other fold
    config.write_text(config.read_text().replace("tensorboard: true", "tensorboard: false"))
    assert validation_predictions(RunFolder(runs[0].path))[1] == said
    config.write_text(config.read_text().replace("lr: 0.005", "lr: 0.006"))
    assert validation_predictions(RunFolder(runs[0].path))[1] == "lfw/val"
    config.write_text(config.read_text().replace("lr: 0.006", "lr: 0.005"))
    again = launch("sweep", tmp_path / "toy.yaml", **env)
    assert again.returncode == 0 and "nothing to train" in again.stdout
