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
from fer.evaluate.bootstrap import difference, draw, tabulate
from fer.evaluate.intervals import interval_of
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions

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
        "uar", "recall:negative", "recall:neutral", "recall:positive")} | {
        f"{name}, at the real set's class shares" for name in ("accuracy", "macro_f1")}


def test_a_difference_in_differences_is_what_its_name_says() -> None:
    four = [draw(tabulate({0: simulated_study.predictions(split, skill, [k], SPLITS)}))
            for k, (split, skill) in enumerate([("mlfw/eval", 1.9), ("real/test", 1.0),
                                                ("lfw/eval", 2.6), ("real/unmasked", 1.7)])]
    net = difference(difference(four[0], four[1]), difference(four[2], four[3]))
    uar = [float(one.observed["uar"][0]) for one in four]
    one = interval_of(net, "uar")
    assert one.value == pytest.approx((uar[0] - uar[1]) - (uar[2] - uar[3]))
    assert one.low is not None and one.high is not None and one.low < one.value < one.high
    assert net.least == -2


def test_a_control_that_is_not_evaluated_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"gap.control: real/unmasked is not in evaluate_on"):
        make_study(gap=GAP)


@pytest.mark.parametrize(("plan", "said"), [
    ({"over": "optim.lr", "on": ["real/test"]},
     r"compare\.x\.over: no grid key 'optim\.lr'; there are: backbone, recipe, train_on"),
    ({"over": "recipe", "on": ["real/tset"]}, r"compare\.x\.on: real/tset is not in evaluate_on"),
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
    assert any("38 of 40 people in common" in line for line in build(study).said.problems)
