"""The human ceiling beside the models, and further columns of a set as subgroups."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from commands import launch
from picture_sets import smooth
from simulated_study import CLASSES, SMALL, Simulated, build, people, rows, simulate
from sklearn.metrics import recall_score

from fer.data.ingest.add import AddRequest, add
from fer.data.ingest.update import update
from fer.data.masks.masked_copy import _of_copy
from fer.data.metadata import (
    ANNOTATIONS,
    Facts,
    annotations_text,
    read_annotations,
    read_facts,
    write_facts,
)
from fer.errors import CallerError
from fer.evaluate.agreement import krippendorff_alpha
from fer.evaluate.predictions import predictions_path, read_predictions
from fer.report.analysis import analyse
from fer.report.build_report import ReportSummary
from fer.report.human_ceiling import human_ceilings
from fer.report.read.load_results import load_results
from fer.report.read.report_cache import ReportCache
from fer.report.subgroups import _in_quarters

REAL = "real/test"
SKILL = {"ada": 0.9, "ben": 0.8, "cleo": 0.5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulate(tmp_path_factory.mktemp("humans"), sizes=SMALL)


def said() -> dict[str, dict[str, str]]:
    """Return what three annotators said on the real pictures; nobody labelled all of them."""
    ids, _, labels = people(REAL, SMALL)
    rng = np.random.default_rng(5)
    found: dict[str, dict[str, str]] = {}
    for picture, label in zip(ids, labels, strict=True):
        found[picture] = {name: CLASSES[label if rng.random() < skill else rng.integers(3)]
                          for name, skill in SKILL.items() if rng.random() < 0.9}
    return found


def facts(sample_id: str) -> Mapping[str, str]:
    told = said_once.get(sample_id, {})
    age = str(20 + sum(map(ord, sample_id)) % 40)
    return {ANNOTATIONS: annotations_text(told), "age": age,
            "camera": "phone" if int(age) % 2 else "reflex"} if told else {}


said_once = said()


@pytest.fixture(scope="module")
def reported(study: Simulated) -> ReportSummary:
    return build(study, facts=facts)


def test_annotators_and_models_are_compared_with_the_same_references(
    study: Simulated, reported: ReportSummary
) -> None:
    table = rows(reported.folder / "humans.csv")
    by_name = {row["name"]: row for row in table if row["kind"] == "annotator"}
    assert set(by_name) == set(SKILL)
    model = next(row for row in table if row["kind"] == "model")
    runs = [run for run in study.runs if run.config_id == model["config_id"]]
    expected = []
    for name in SKILL:
        pairs = {}
        for picture, told in said_once.items():
            others = [label for who, label in told.items() if who != name]
            counts = sorted((others.count(label), label) for label in set(others))
            if name in told and counts and (len(counts) == 1 or counts[-1][0] > counts[-2][0]):
                pairs[picture] = counts[-1][1]
        mine = [said_once[picture][name] for picture in pairs]
        assert int(by_name[name]["n"]) == len(pairs)
        uar = recall_score(list(pairs.values()), mine, average="macro")
        assert float(by_name[name]["value"]) == pytest.approx(uar, abs=1e-6)
        assert float(by_name[name]["low"]) < uar < float(by_name[name]["high"])
        for run in runs:
            found = read_predictions(predictions_path(run.folder, REAL))
            predicted = dict(zip(found.sample_ids, found.predicted, strict=True))
            expected.append(recall_score(list(pairs.values()), [
                CLASSES[predicted[picture]] for picture in pairs], average="macro"))
    assert float(model["value"]) == pytest.approx(np.mean(expected), abs=1e-6)
    votes = np.array([[CLASSES.index(told[name]) if name in told else -1 for name in SKILL]
                      for told in said_once.values()])
    crowd = dict(zip(*people(REAL, SMALL)[:2], strict=True))
    alpha = krippendorff_alpha(votes, 3, [crowd[picture] for picture in said_once])
    (row,) = [row for row in table if row["metric"] == "alpha"]
    assert [float(row[key]) for key in ("value", "low", "high")] == pytest.approx(
        [alpha.value, alpha.low, alpha.high], abs=1e-6)


def test_the_page_and_the_markdown_show_people_beside_models(reported: ReportSummary) -> None:
    summary = reported
    page, text = summary.page.read_text(), (summary.folder / "report.md").read_text()
    for shown in (page, text):
        assert "The human ceiling" in shown and "Krippendorff" in shown
    assert page.index("The human ceiling") < page.index('id="appendix"')
    listed = summary.said.listings["humans"]
    kinds = [row[2].text for row in listed.rows]
    assert kinds.count("annotator") == 3 and kinds.count("model") == 8
    scores = [row[3].key or 0 for row in listed.rows]
    assert scores == sorted(scores, reverse=True)


def test_without_two_annotators_there_is_no_ceiling_and_no_file(
    study: Simulated, reported: ReportSummary, tmp_path: Path
) -> None:
    analysis = analyse(study.study, load_results(study.study, study.runs, ReportCache(tmp_path)))
    for cell in ("", "ada=neutral", "ada", "ada=joy;ben=joy", "=;=", "ada=;ben=", "a=neutral;a=x"):
        assert human_ceilings(analysis, lambda name, cell=cell: {ANNOTATIONS: cell}) == []
    assert len(human_ceilings(analysis, lambda name: {ANNOTATIONS: "a=neutral;b=neutral"})) == 2
    shutil.copytree(reported.folder, tmp_path / "report")
    again = build(study, out=tmp_path / "report")
    assert "humans" not in again.said.listings and not (again.folder / "humans.csv").exists()
    assert "The human ceiling" not in again.page.read_text()


def test_further_columns_are_subgroups_and_many_numbers_are_cut_at_quartiles(
    reported: ReportSummary
) -> None:
    parts = rows(reported.folder / "parts.csv")
    found = {(row["fact"], row["value"]) for row in parts if row["test_on"] == REAL}
    assert {("camera", "phone"), ("camera", "reflex")} <= found
    ages = [value for fact, value in found if fact == "age"]
    assert 3 <= len(ages) <= 4 and all(" to " in age for age in ages)
    assert not any(fact == ANNOTATIONS for fact, _ in found)


def test_quartiles_hold_as_many_and_categories_stay() -> None:
    ages = [str(age) for age in range(20, 60)] + [""]
    cut = _in_quarters(ages)
    assert list(dict.fromkeys(cut)) == ["20 to 29", "30 to 39", "40 to 49", "50 to 59", ""]
    for same in (["1", "2", "3"] * 9, ["a", *ages], ["nan", *ages], [""] * 3, []):
        assert _in_quarters(same) == same
    assert set(_in_quarters(["1"] * 50 + [str(one) for one in range(2, 14)])) == {
        "1 to 1", "2 to 13"}


def table(folder: Path, header: str, *cells: str) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(3):
        smooth(number).save(folder / f"{number}.jpg")
    lines = [f"{number}.jpg,{cls},{cell}" for (number, cls), cell in
             zip(enumerate(CLASSES), cells, strict=True)]
    (folder / "labels.csv").write_text("\n".join([f"file,label,{header}", *lines]) + "\n")
    return folder / "labels.csv"


def test_annotations_and_further_columns_of_a_table_are_kept(tmp_path: Path) -> None:
    file = table(tmp_path / "t", "age,annotations,shoe", "31,ada=negative;ben=neutral,4", "32,,5",
                 "33,ada=positive,")
    with pytest.raises(CallerError, match=r"unknown column 'shoe'.*NAME=NAME keeps"):
        add(AddRequest(file, "X", "test"), tmp_path)
    add(AddRequest(file, "X", "test", columns="shoe=shoe"), tmp_path)
    again = add(AddRequest(file, "X", "test", columns="shoe=shoe"), tmp_path)
    assert any("already present" in line for line in again)
    found = read_facts(tmp_path / "X")
    assert dict(found["test/negative/0.jpg"].more) == {
        "age": "31", ANNOTATIONS: "ada=negative;ben=neutral", "shoe": "4"}
    assert dict(found["test/positive/2.jpg"].more) == {"age": "33", ANNOTATIONS: "ada=positive"}
    table(tmp_path / "t", "age,annotations,shoe", "30,,4", "32,,5", "33,,6")
    update(AddRequest(file, "X", "test", columns="shoe=shoe"), tmp_path)
    assert dict(read_facts(tmp_path / "X")["test/negative/0.jpg"].more) == {
        "age": "30", "shoe": "4"}


@pytest.mark.parametrize(("header", "columns", "cell", "message"), [
    ("annotations", "", "ada", "labels.csv:2: annotations: 'ada' is not a NAME=LABEL"),
    ("annotations", "", "ada=neutral;ada=neutral", "once for each annotator"),
    ("annotations", "", "ada=joy", "labels.csv:2: label 'joy'"),
    ("who", "identty=who", "x", "'identty' is none of ours"),
    ("who", "Labels=who", "x", "is none of ours"), ("who", "a b=who", "x", "is none of ours")])
def test_a_slip_in_a_further_column_is_named(tmp_path: Path, header: str, columns: str, cell: str,
                                             message: str) -> None:
    file = table(tmp_path / "t", header, cell, "", "")
    with pytest.raises(CallerError, match=message):
        add(AddRequest(file, "X", "test", columns=columns), tmp_path)


def test_what_annotators_said_is_translated_as_labels_are(tmp_path: Path) -> None:
    file = table(tmp_path / "t", "annotations", "ada=sad;ben=happy", "ada=surprise", "")
    text = file.read_text()
    for name, other in zip(CLASSES, ("angry", "neutral", "happy"), strict=True):
        text = text.replace(f".jpg,{name}", f".jpg,{other}")
    file.write_text(text)
    add(AddRequest(file, "X", "test", labels="fer7"), tmp_path)
    found = read_facts(tmp_path / "X")["test/negative/0.jpg"]
    assert read_annotations(dict(found.more)[ANNOTATIONS]) == {"ada": "negative", "ben": "positive"}


def test_facts_without_further_columns_are_recorded_as_before(tmp_path: Path) -> None:
    assert repr(Facts("a", "b", "c", "d")) == (
        "Facts(identity='a', mask_type='b', pose='c', annotator='d')")
    write_facts(tmp_path, {"test/a/1.jpg": Facts(mask_type="cloth")})
    assert (tmp_path / "pictures.csv").read_text() == "file,mask_type\ntest/a/1.jpg,cloth\n"
    write_facts(tmp_path, {"test/a/1.jpg": Facts(more=(("age", "3"),))})
    assert (tmp_path / "pictures.csv").read_text() == "file,age\ntest/a/1.jpg,3\n"


def test_a_masked_copy_has_no_annotations_of_the_original() -> None:
    facts = Facts("ada", "", "left", "x", "0.8", (("age", "3"), (ANNOTATIONS, "x=neutral"),
                                                  ("certainty", "1.000")))
    assert _of_copy(facts, "cloth") == Facts("ada", "cloth", "left", "x", more=(("age", "3"),))


def test_add_explains_further_columns_in_its_help() -> None:
    assert "keeps" in launch("data", "add", "--help").stdout
