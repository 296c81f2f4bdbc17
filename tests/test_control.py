"""A control split: the gap net of what models lose between unmasked pictures of both sets."""

import csv
from pathlib import Path

import numpy as np
import pytest
import simulated_study
import yaml
from conftest import REPOSITORY
from pydantic import ValidationError
from simulated_study import SETS, SKILL, build, make_study, simulate, write_run

from fer.config.load import load_study
from fer.errors import CallerError
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions
from fer.evaluate.study_scores import StudyScores

CONTROL = {"synthetic": "lfw/eval", "real": "real/unmasked"}
GAP = {"synthetic": "mlfw/eval", "real": "real/test", "control": CONTROL}
SPLITS = {**SETS, "real/unmasked": ("b", 135)}


def gaps(out: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    with open(out / "gap.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            found.setdefault(row["metric"], []).append(float(row["gap"]))
    return found


@pytest.mark.parametrize("with_control", [True, False])
def test_the_report_takes_the_control_off_where_there_is_one_and_else_names_the_confound(
    with_control: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # other people and cameras cost as much as the masks seem to: unmasked pictures show it
    monkeypatch.setitem(SKILL, "real/unmasked", 1.7)
    simulated = simulate(tmp_path, equal=True, sizes=SPLITS)
    gap = GAP if with_control else {key: GAP[key] for key in ("synthetic", "real")}
    study = make_study(gap=gap, evaluate_on=list(SPLITS))
    said = build(simulated, study=study).said.summary
    found = gaps(simulated.out)
    text = " ".join([said.main, *said.others, *said.caveats])
    if not with_control:
        assert "uar, net of control" not in found and "no control split" in text
        return
    assert "Net of the control" in text and "no control split" not in text
    assert "real/unmasked" in text
    assert np.mean(found["uar, net of control"]) < np.mean(found["uar"]) - 0.05
    assert set(found) == {f"{name}{net}" for net in ("", ", net of control") for name in (
        "uar", "recall:negative", "recall:neutral", "recall:positive")}


def test_a_difference_in_differences_is_what_its_name_says() -> None:
    skills = {"mlfw/eval": 1.9, "real/test": 1.0, "lfw/eval": 2.6, "real/unmasked": 1.7}
    scores = StudyScores({("c", split): tabulate({
        seed: simulated_study.predictions(split, skill, [k, seed], SPLITS) for seed in range(2)})
        for k, (split, skill) in enumerate(skills.items())})
    uar = {split: one.value for split in skills
           if (one := scores.contrast({"c": 1}, [(1, split)])) and one.value is not None}
    net = scores.contrast({"c": 1}, [(1, "mlfw/eval"), (-1, "real/test"),
                                     (-1, "lfw/eval"), (1, "real/unmasked")])
    assert net is not None and net.low is not None and net.high is not None
    assert net.value == pytest.approx((uar["mlfw/eval"] - uar["real/test"])
                                      - (uar["lfw/eval"] - uar["real/unmasked"]))
    assert net.low < net.value < net.high


def test_a_control_that_is_not_evaluated_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gap.control: real/unmasked is not in evaluate_on"):
        make_study(gap=GAP)


@pytest.mark.parametrize(("plan", "said"), [
    ({"over": "optim.lr", "on": ["real/test"]},
     r"compare\.x\.over: no grid key 'optim\.lr'; there are: backbone, recipe, train_on"),
    ({"over": "recipe", "on": ["real/tset"]}, r"compare\.x\.on: real/tset is not in evaluate_on"),
    ({"over": "recipe", "against": "scrach", "on": ["real/test"]},
     r"compare\.x\.against: recipe has no value 'scrach'; there are: scratch, lp_ft"),
])
def test_a_misspelt_comparison_is_refused_before_anything_runs(
    plan: dict[str, object], said: str, tmp_path: Path
) -> None:
    tree = yaml.safe_load((REPOSITORY / "sweeps/demo.yaml").read_text())
    tree |= {"base": str(REPOSITORY / "configs/drawn.yaml"), "compare": {"x": plan}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(CallerError, match=said):
        load_study(tmp_path / "study.yaml")
    load_study(REPOSITORY / "sweeps/demo.yaml", {"evaluate_on": ["real/test"]})  # a smaller look
    tree["compare"]["x"] = {"over": "train_on", "against": "mlfw", "on": ["real/test"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(tree))
    load_study(tmp_path / "study.yaml", {"grid.train_on": ["many"]})  # no baseline, on purpose


def test_two_sets_that_share_most_people_but_not_all_are_not_paired_and_it_is_said(
    tmp_path: Path
) -> None:
    study = simulate(tmp_path, 1, sizes={"mlfw/eval": ("a", 80), "real/test": ("a", 80)})
    for run in study.runs:  # whose real set lacks the last two people
        path = predictions_path(run.folder, "real/test")
        whole = read_predictions(path)
        part = Predictions(whole.sample_ids[:76], whole.identities[:76], whole.labels[:76],
                           whole.logits[:76], whole.classes)
        write_run(run, {"real/test": part})
    assert any("38 of 40 people in common, but count as independent" in line
               for line in build(study).said.problems)
