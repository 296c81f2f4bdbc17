"""People who are trained on and tested on: refused, or accepted by name and said in the report."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import TOY, launch, toy_arguments, write_toy_set
from test_mistakes import said_in_one_line

from fer.config.load import load_study
from fer.evaluate.predictions import read_predictions

Write = Callable[..., Path]


@pytest.fixture
def both(tmp_path: Path, places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root in which two of the four people of each eval split are in train too."""
    root = tmp_path / "both"
    for folder, mask in (("LFW-FER", False), ("M-LFW-FER", True)):
        write_toy_set(root / folder, "train", people=10, mask=mask)
        write_toy_set(root / folder, "eval", people=4, mask=mask, first=8)
    write_toy_set(root / "REAL-FER", "test", people=4, mask=True)  # equal names, other people
    monkeypatch.setenv("FER_DATA", str(root))
    return root


def test_a_study_is_refused_and_says_how_to_accept_it(both: Path, toy_study: Write) -> None:
    study = toy_study({"seed": [0]}, evaluate_on=["lfw/eval", "mlfw/eval", "real/test"])
    line = said_in_one_line(launch("sweep", study, "--dry-run"),
                            "2 of the 4 people of lfw/eval are in lfw/train too",
                            "data.shared_people='[lfw/eval, mlfw/eval]'")
    assert "real/test" not in line  # no twin of what is trained on
    said_in_one_line(launch("sweep", study, "--dry-run", "data.shared_people=[lfw/eval]"),
                     "mlfw/eval")


NAMES = "4 of the 4 people of real/test have the name of a person of lfw/train"


def test_equal_names_in_other_sets_are_said_and_not_refused(both: Path, toy_study: Write) -> None:
    study = toy_study({"seed": [0]}, evaluate_on=["real/test"], gap=None)
    done = launch("sweep", study, "--dry-run")
    assert done.returncode == 0 and NAMES in done.stdout.replace("\n", " "), done.stderr


def test_no_control_is_added_whose_pictures_were_trained_on(
    both: Path, toy_study: Write
) -> None:
    shutil.copytree(both / "LFW-FER/train", both / "REAL-FER/unmasked")
    gap = {"synthetic": "mlfw/eval", "real": "real/test"}
    study = toy_study({"seed": [0]}, evaluate_on=["mlfw/eval", "real/test"], gap=gap)
    done = launch("sweep", study, "--dry-run", "data.shared_people=[mlfw/eval]")
    said = done.stdout.replace("\n", " ")
    assert done.returncode == 0 and "no control of the gap: " in said, done.stderr
    assert "real/unmasked" in said and "evaluated too" not in said


def test_a_training_picture_in_another_test_set_is_refused_before_training(
    both: Path, toy_study: Write
) -> None:
    copied = next((both / "LFW-FER/train/neutral").glob("*.jpg"))
    shutil.copy(copied, both / "REAL-FER/test/neutral/Somebody_Else_0001.jpg")
    study = toy_study({"seed": [0]}, evaluate_on=["real/test"], gap=None)
    said_in_one_line(launch("sweep", study, "--dry-run"), "pictures in both training and test data",
                     "1 of the 13 pictures of real/test are in lfw/train too, byte for byte",
                     "data.shared_people='[real/test]'")
    done = launch("sweep", study, "--dry-run", "data.shared_people=[real/test]")
    assert done.returncode == 0, done.stderr
    assert "byte for byte: accepted by data.shared_people" in done.stdout.replace("\n", " ")


def test_one_run_is_refused_too(both: Path) -> None:
    arguments = ["configs/drawn.yaml", *toy_arguments(), "evaluate_on=[mlfw/eval]"]
    said_in_one_line(launch("train", *arguments), "mlfw/eval", "lfw/train", "data.shared_people")


def test_what_was_accepted_is_in_the_report(both: Path, toy_study: Write, places: Path) -> None:
    grid = {"seed": [0]}
    settings = {**{key: value for key, value in TOY.items() if key not in grid},
                "train.epochs": 1, "keep.tensorboard": False, "data.shared_people": ["lfw/eval"]}
    study = toy_study(grid, set=settings)
    done = launch("sweep", study, "--cluster", "local")
    assert done.returncode == 0, done.stdout + done.stderr
    said = "2 of the 4 people of lfw/eval are in lfw/train too"
    assert said in done.stdout.replace("\n", " ")
    for name in ("report.md", "index.html"):
        assert said in (places / "studies/toy/report" / name).read_text()
    assert NAMES in (places / "studies/toy/report/report.md").read_text()
    (run,) = (places / "runs").iterdir()
    for split, words in (
        ("mlfw/train", "9 of the 9 people of mlfw/train are in lfw/train too, on which resmasking"),
        ("mlfw/val", "people of mlfw/val are in lfw/val, on which resmasking"),
        ("real/test", NAMES),
    ):
        told = launch("evaluate", run.name, "--split", split)
        assert words in told.stdout.replace("\n", " "), told.stdout + told.stderr


def test_accepting_it_is_no_part_of_the_run_id(places: Path, toy_study: Write) -> None:
    study = toy_study({"seed": [0]})
    names = [launch("sweep", study, "--dry-run", *more).stdout.split("train     ")[1].split()[0]
             for more in ([], ["data.shared_people=[lfw/eval]"])]
    assert names[0] == names[1]


def test_the_2021_study_takes_the_published_split_as_it_is() -> None:
    assert load_study("sweeps/paper.yaml").set["data.shared_people"] == ["lfw/eval", "mlfw/eval"]


@pytest.mark.slow
def test_dealt_out_anew_nobody_is_trained_and_tested_on(
        both: Path, places: Path, toy_study: Write) -> None:
    study = toy_study({"seed": [0]}, evaluate_on=["lfw/eval", "mlfw/eval", "real/test"],
                      gap={"synthetic": "mlfw/eval", "real": "real/test"})
    people = set()
    for fold in (0, 1):
        done = launch("sweep", study, "--cluster", "local", f"study=fold{fold}",
                      f"data.resplit={{fold: {fold}, of: 3}}", "train.epochs=1",
                      "keep.tensorboard=false")
        assert done.returncode == 0, done.stdout + done.stderr
        table = (places / f"studies/fold{fold}/report/results.csv").read_text()
        rows = list(csv.DictReader(table.splitlines()))
        assert {row["test_on"] for row in rows} == {"lfw/eval", "mlfw/eval", "real/test"}
        (run,) = (places / "runs").glob(f"*{rows[0]['run_id']}")
        tested = read_predictions(run / "predictions/lfw/eval.parquet").identities
        assert not people & set(tested)
        people |= set(tested)
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"]["resplit"] = None  # another configuration's sets, but still the run's fold
        (both / "other.yaml").write_text(yaml.safe_dump(config))
        again = launch("evaluate", run.name, "--split", "lfw/eval", "--data", both / "other.yaml")
        assert f"n = {len(tested)}" in again.stdout, again.stdout + again.stderr
    newcomer = next((both / "LFW-FER/train/neutral").glob("*.jpg"))
    shutil.copy(newcomer, newcomer.with_name("New_Person_0001.jpg"))  # the deal is another one now
    said_in_one_line(launch("evaluate", run.name, "--split", "lfw/eval"), run.name,
                     "the images of lfw/", "data.resplit")
    assert launch("evaluate", run.name, "--split", "real/test").returncode == 0


def test_folds_are_studies_and_no_axis(places: Path, toy_study: Write) -> None:
    study = toy_study({"data.resplit.fold": [0, 1]})
    said_in_one_line(launch("sweep", study, "--dry-run"), "data.resplit", "study=")
    whole = toy_study({"data": [{"resplit": {"fold": 0}}, {"resplit": {"fold": 1}}]})
    said_in_one_line(launch("sweep", whole, "--dry-run"), "study=")
    said_in_one_line(launch("sweep", toy_study({"seed": [0]}), "--dry-run", "data.resplit.fold=7"),
                     "fold 7 of 5")
