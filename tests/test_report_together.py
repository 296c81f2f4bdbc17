"""One report on several studies: nothing twice, nothing pooled, the studies compared."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import REPOSITORY, TOY, launch
from simulated_study import Simulated, build, make_study, rows, simulate
from test_mistakes import said_in_one_line

from fer.errors import CallerError
from fer.report.multi_study import _check, label, merge
from fer.study.run_folder import Store


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> dict[str, str]:
    """Return the environment of two finished toy studies that share a run."""
    root = tmp_path_factory.mktemp("two")
    env = {"FER_DATA": str(toy_data), "FER_HOME": str(root / "home"),
           "FER_CACHE": str(root / "cache")}
    for name, change, seeds in (("first", {}, [0, 1]), ("second", {"optim.lr": 3e-3}, [0]),
                                ("third", {}, [1, 2])):
        content = {"schema": 1, "study": name, "base": str(REPOSITORY / "configs/drawn.yaml"),
                   "grid": {"train_on": ["mlfw"], "seed": seeds},
                   "set": {key: value for key, value in TOY.items() if key != "train_on"} | {
                       "train.epochs": 1, **change},
                   "evaluate_on": ["mlfw/eval", "real/test"],
                   "gap": {"synthetic": "mlfw/eval", "real": "real/test"}}
        (root / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = launch("sweep", root / f"{name}.yaml", **env)
        assert done.returncode == 0, done.stdout + done.stderr
    return env


@pytest.mark.slow
def test_two_studies_are_compared_and_not_pooled(two: dict[str, str]) -> None:
    done = launch("report", "first", "second", "--as", "rates", **two)
    assert done.returncode == 0, done.stdout + done.stderr
    out = Path(two["FER_HOME"]) / "studies/rates/report"
    summary = [row for row in rows(out / "summary.csv") if row["test_on"] == "real/test"]
    assert {(row["axes"], row["seeds"]) for row in summary} == {
        ("study=first", "2"), ("study=second", "1")}
    found = [row for row in rows(out / "comparisons.csv") if row["family"] == "studies"]
    assert {(row["left"], row["right"], row["seeds"]) for row in found} == {
        ("first", "second", "1")}


@pytest.mark.slow
def test_a_run_of_both_studies_is_there_once_and_seeds_of_both_are_seeds(
    two: dict[str, str]
) -> None:
    assert launch("report", "first", "third", **two).returncode == 0
    out = Path(two["FER_HOME"]) / "studies/first-and-third/report"
    assert sorted(row["seed"] for row in rows(out / "results.csv")
                  if row["test_on"] == "real/test") == ["0", "1", "2"]
    (row,) = [row for row in rows(out / "summary.csv") if row["test_on"] == "real/test"]
    assert (row["seeds"], row["axes"]) == ("3", "study=first+third")


@pytest.mark.slow
def test_a_report_is_not_written_over_a_study(two: dict[str, str]) -> None:
    said_in_one_line(launch("report", "first", "second", "--as", "third", **two), "third")
    said_in_one_line(launch("report", "first", "first", **two), "first", "twice")
    said_in_one_line(launch("report", "first", "second", "--as", "../x", **two), "../x")
    said_in_one_line(launch("report", "first", "--as", "x", **two), "--as")


def test_studies_of_different_classes_are_refused_in_one_line(tmp_path: Path) -> None:
    studies = [SimpleNamespace(study=make_study(study=name), data=SimpleNamespace(classes=classes))
               for name, classes in (("one", ("sad", "glad")), ("two", ("sad", "angry")))]
    with pytest.raises(CallerError, match=r"one and two have different classes: sad, glad and sad"):
        _check(studies, "both", Store(tmp_path))  # type: ignore[arg-type]


def test_studies_with_other_gaps_and_families_are_merged_and_it_is_said(tmp_path: Path) -> None:
    other = make_study(study="other", gap={"synthetic": "lfw/eval", "real": "real/test"},
                       compare={"recipes": {"over": "backbone", "on": ["real/test"]}})
    study, lines = merge([make_study(), other], "both")
    assert study.gap is not None and study.gap.synthetic == "mlfw/eval" and len(lines) == 1
    assert {key: plan.over for key, plan in study.compare.items()} == {
        "recipes": "recipe", "recipes (other)": "backbone", "studies": "study"}


def test_what_studies_share_is_compared_within_each_of_them_and_once(tmp_path: Path) -> None:
    runs = simulate(tmp_path, 1, sizes={"real/test": ("b", 60)}).runs
    first = [run for run in runs if run.backbone == "cbam_tiny" and run.train_on == "lfw"]
    second = [run for run in first if run.recipe == "scratch"] + [
        replace(run, recipe="ema", config_id="other", run=f"x{run.run}", run_id="x")
        for run in first if run.recipe == "lp_ft"]
    study, _ = merge([make_study(study=name) for name in ("a", "b")], "both")
    both = label([first, second], ["a", "b"])
    said = build(Simulated(study, both, tmp_path / "studies/both/report", tmp_path)).said
    pairs = [(pair.left, pair.right, pair.among) for family in said.families
             if family.name == "recipes" for pair in family.pairs]
    assert sorted(pairs) == [("ema", "scratch", "cbam_tiny · lfw · study=b"),
                             ("lp_ft", "scratch", "cbam_tiny · lfw · study=a")]


def test_axes_of_one_configuration_are_the_same_for_all_its_seeds(tmp_path: Path) -> None:
    runs = simulate(tmp_path, 2, sizes={"real/test": ("b", 40)}).runs[:2]
    second = [replace(runs[1], axes={"optim.lr": "0.1"})]
    found = label([runs[:1], second], ["a", "b"])
    assert {tuple(sorted(run.axes.items())) for run in found} == {(("study", "a+b"),)}
