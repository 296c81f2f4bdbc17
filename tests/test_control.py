"""A control split: the gap net of what models lose between unmasked pictures of both sets."""

import csv
from pathlib import Path

import numpy as np
import pytest
import simulated_study
import yaml
from conftest import REPOSITORY, write_toy_set
from pydantic import ValidationError
from simulated_study import SETS, SKILL, build, make_study, simulate, write_run

from fer.config.load import dump, load_study
from fer.config.run import Data
from fer.errors import CallerError
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions
from fer.evaluate.study_scores import StudyScores
from fer.study.control import with_control

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
        assert " a gap of " not in said.main and "a difference between the sets of " in said.main
        assert 'href="#confound">no control split</a>' in (simulated.out / "index.html").read_text()
        return
    assert "a gap of " in said.main and "The gap is net of the control; without it" in said.main
    assert "no control split" not in text
    assert "real/unmasked" in text
    assert np.mean(found["uar, net of control"]) < np.mean(found["uar"]) - 0.05
    assert set(found) == {f"{name}{net}" for net in ("", ", net of control") for name in (
        "uar", "recall:negative", "recall:neutral", "recall:positive")}


def test_the_unmasked_pictures_that_are_on_disk_are_the_control(tmp_path: Path) -> None:
    data = Data.model_validate({"sets": {
        "lfw": {"folder": "LFW"}, "mlfw": {"folder": "M-LFW", "twin_of": "lfw"},
        "real": {"folder": "REAL"}, "other": {"folder": "OTHER"}}})
    for place in ("LFW/eval", "M-LFW/eval", "REAL/test", "OTHER/test"):
        write_toy_set(tmp_path / place.split("/")[0], place.split("/")[1], people=2, size=32)
    plain = {"synthetic": "mlfw/eval", "real": "real/test"}
    study = make_study(gap=plain, evaluate_on=["mlfw/eval", "real/test"])
    assert with_control(study, data, tmp_path) == study  # the real people have none
    write_toy_set(tmp_path / "REAL", "unmasked", people=2, size=32)
    found = with_control(study, data, tmp_path)
    assert found.evaluate_on == ["mlfw/eval", "real/test", "lfw/eval", "real/unmasked"]
    assert found.gap.pairs[0].control == ("lfw/eval", "real/unmasked")
    for gap in (plain | {"control": None}, plain | {"real": ["real/test", "other/test"]}):
        one = make_study(gap=gap, evaluate_on=["mlfw/eval", "real/test", "other/test"])
        assert with_control(one, data, tmp_path) == one
    copies = Data.model_validate({"sets": {**data.model_dump()["sets"], "many": {
        "folder": "M-LFW", "twin_of": "lfw"}}})  # the difference of lfw and lfw is no control
    one = make_study(gap=plain | {"real": "many/eval"}, evaluate_on=["mlfw/eval", "many/eval"])
    assert with_control(one, copies, tmp_path) == one
    one = make_study(gap=plain | {"real": ["real/test", "other/test"]},
                     evaluate_on=["mlfw/eval", "real/test", "other/test"])
    write_toy_set(tmp_path / "OTHER", "unmasked", people=2, size=32)
    assert [pair.control for pair in with_control(one, data, tmp_path).gap.pairs] == [
        ("lfw/eval", "real/unmasked"), ("lfw/eval", "other/unmasked")]


def test_each_real_set_has_its_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SKILL, "wild/test", 0.6)
    simulated = simulate(tmp_path, sizes={**SETS, "wild/test": ("c", 90)})
    plan = {"recipes": {"over": "recipe", "against": "scratch", "on": ["real/test", "wild/test"]}}
    study = make_study(gap={"synthetic": "mlfw/eval", "real": ["real/test", "wild/test"]},
                       evaluate_on=[*SETS, "wild/test"], compare=plan)
    view = build(simulated, study=study).said
    with open(simulated.out / "gap.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["real"] for row in rows} == {"real/test", "wild/test"}
    assert {row["n_real"] for row in rows if row["real"] == "wild/test"} == {"90"}
    heads = [(one.name, one.note) for one in view.listings["results"].columns]
    assert ("gap", "points, real/test") in heads and ("gap", "points, wild/test") in heads
    assert any(line.startswith("On wild/test: ") and "in place of scratch" in line
               for line in view.summary.others)
    assert {pair.split for family in view.families for pair in family.planned if pair.gap} == {
        "real/test", "wild/test"}
    text = (simulated.out / "tables.tex").read_text()
    assert "mlfw/eval minus wild/test" in text and text.count("& gap & gap &") == 1
    one = build(simulated, study=study.model_copy(update={"compare": {}}),
                out=tmp_path / "plain").said.summary
    assert sum("on wild/test: a difference between the sets" in line for line in one.others) == 2
    assert dump(study)["gap"]["real"] == ["real/test", "wild/test"]
    assert make_study(**yaml.safe_load(yaml.safe_dump(dump(study)))) == study


def test_a_control_of_another_number_of_sets_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"control\.real: as many splits as gap\.real"):
        make_study(gap={**GAP, "real": ["real/test", "lfw/eval"]}, evaluate_on=list(SPLITS))


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
    ({"over": "train_on", "against": "mlwf", "on": ["real/test"]},
     r"compare\.x\.against: train_on has no value 'mlwf'; there are: lfw, mlfw, many"),
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
