"""A report of what is missing, damaged or too small: said, never a crash, never without n."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated_study import (
    SMALL,
    Simulated,
    build,
    failed,
    make_study,
    predictions,
    rows,
    simulate,
    write_run,
)

from fer.atomic_io import write_json
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions
from fer.untrusted_io import read_json

ALL = [{"backbone": ["cbam_tiny", "resmasking_tiny"]}]  # baselines: every configuration


@pytest.fixture()
def small(tmp_path: Path) -> Simulated:
    """Return a study that a test may damage: one seed, two small sets."""
    return simulate(tmp_path, 1, sizes=SMALL)


@pytest.mark.parametrize(("n", "people", "reason"), [
    (24, 12, "a class has "), (60, 4, "people worth 4 of 8 that a claim needs"),
    (3, 3, "too few people to generalise")])
def test_few_pictures_or_people_make_no_headline_and_no_claim(
    n: int, people: int, reason: str, tmp_path: Path
) -> None:
    study = simulate(tmp_path, 1, sizes={"mlfw/eval": ("a", 80), "real/test": ("b", n)})
    for run in study.runs:
        table = read_predictions(predictions_path(run.folder, "real/test"))
        names = [f"person {place % people}" for place in range(n)]
        write_run(run, {"real/test": replace(table, identities=names)})
    said = build(study).said
    assert said.summary.main.startswith("The test sets allow no conclusion: ")
    assert reason in said.summary.main
    real = [pair for family in said.families for pair in family.pairs
            if pair.split == "real/test"]
    assert {pair.verdict for pair in real} == {"no claim"}
    assert all(reason in pair.said for pair in real)
    assert any((line.startswith("real/test: ") and "claimed" in line) or "no interval" in line
               for line in said.problems)
    assert said.across is not None and said.across.standing == {}


def test_no_finished_run_is_said(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes={"real/test": ("b", 40)})
    waiting = [replace(run, state="pending", folder=tmp_path / "none" / run.run)
               for run in study.runs]
    summary = build(study, runs=waiting)
    assert "nothing to report" in summary.said.summary.main
    assert summary.said.partial and rows(study.out / "results.csv") == []
    assert "partial: 0 of 8 runs done" in (study.out / "index.html").read_text()


def test_no_run_at_all_is_no_crash(small: Simulated) -> None:
    assert "nothing to report" in build(small, runs=[]).said.summary.main


def test_failure_is_shown_with_its_traceback(small: Simulated) -> None:
    runs = [failed(small.runs[0], "Traceback\n  <b>loss is NaN</b> at step 17"), *small.runs[1:]]
    shutil.rmtree(runs[0].folder)
    build(small, runs=runs)
    text = (small.out / "index.html").read_text()
    assert "&lt;b&gt;loss is NaN&lt;/b&gt; at step 17" in text
    assert "loss is NaN" in (small.out / "report.md").read_text()
    assert f"../../../runs/{runs[0].run}" in text


def cut_predictions(study: Simulated) -> None:
    path = study.file(2, "predictions", "real/test")
    path.write_bytes(path.read_bytes()[:100])


def cut_result(study: Simulated) -> None:
    path = study.file(2, "results", "real/test")
    path.write_text(path.read_text()[:80])


def other_schema(study: Simulated) -> None:
    path = study.file(2, "results", "real/test")
    write_json(path, read_json(path) | {"schema": 99})


def lose_predictions(study: Simulated) -> None:
    study.file(2, "predictions", "real/test").unlink()


def lose_result(study: Simulated) -> None:
    study.file(2, "results", "real/test").unlink()


def other_digest(study: Simulated) -> None:
    path = study.file(2, "results", "real/test")
    write_json(path, read_json(path) | {"digest": "another"})


def other_predictions(study: Simulated) -> None:
    shutil.copy(study.file(3, "predictions", "real/test"),
                study.file(2, "predictions", "real/test"))


@pytest.mark.parametrize(("damage", "said"), [
    (cut_predictions, "predictions/real/test.parquet: not a readable parquet file"),
    (cut_result, "results/real/test.json: not readable"),
    (other_schema, "results/real/test.json: not a result of schema 1"),
    (lose_predictions, "no predictions on real/test"),
    (lose_result, "has no result on real/test"),
    (other_digest, "real/test had different content then"),
    (other_predictions, "results and predictions on real/test disagree"),
])
def test_damage_is_said_and_the_rest_is_reported(small: Simulated,
                                                 damage: Callable[[Simulated], None],
                                                 said: str) -> None:
    damage(small)
    summary = build(small)
    (line,) = [line for line in summary.said.problems if said in line]
    assert line.startswith(small.runs[2].run)
    assert line.split(":")[0] in (small.out / "index.html").read_text()
    assert summary.said.summary.main.startswith("Models trained on mlfw reach an unweighted")


def test_configurations_without_predictions_have_a_value_and_no_interval(
        small: Simulated) -> None:
    for index in range(len(small.runs)):
        small.file(index, "predictions", "real/test").unlink()
    build(small)
    found = [r for r in rows(small.out / "summary.csv") if r["test_on"] == "real/test"]
    assert {(r["uar_low"], r["interval"]) for r in found} == {("", "no predictions, no interval")}
    assert all(float(r["uar"]) > 0 for r in found)
    assert rows(small.out / "gap.csv") == []


def test_absent_class_is_said_and_has_an_empty_recall(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    for run in study.runs:
        whole = predictions("real/test", 1.0, [run.seed, len(run.run)], SMALL)
        keep = np.flatnonzero(whole.labels != 0)
        write_run(run, {"real/test": Predictions(
            [whole.sample_ids[i] for i in keep], [whole.identities[i] for i in keep],
            whole.labels[keep], whole.logits[keep], whole.classes)})
    said = build(study).said
    assert any("real/test: no picture of class negative" in line for line in said.problems)
    assert {row["recall"] for row in rows(study.out / "recall.csv")
            if (row["test_on"], row["class"]) == ("real/test", "negative")} == {""}
    page = re.sub(r"base64,[^\"]*", "", (study.out / "index.html").read_text())  # has any letters
    assert "nan" not in page.lower()


def test_comparison_over_an_unknown_key_is_said(small: Simulated) -> None:
    study = make_study(compare={"masks": {"over": "mask_style", "on": ["real/test"]}})
    (family,) = build(small, study=study).said.families
    assert "no run has a grid key 'mask_style'" in family.notes


def test_all_numbers_of_a_row_are_of_the_same_runs(tmp_path: Path) -> None:
    study = simulate(tmp_path, 2, sizes=SMALL)
    study.file(1, "predictions", "real/test").unlink()  # the second seed of the first one
    said = build(study).said
    (row, *_) = [row for row in rows(study.out / "summary.csv") if row["test_on"] == "real/test"
                 and row["config_id"] == study.runs[1].config_id]
    alone = read_json(study.file(0, "results", "real/test"))
    assert row["seeds"] == "1"
    for name in ("uar", "accuracy", "nll", "ece", "brier"):
        assert float(row[name]) == pytest.approx(alone[name], abs=1e-6), name
    counts = [row for row in rows(study.out / "confusion.csv") if row["fact"] == ""
              and (row["config_id"], row["test_on"]) == (study.runs[1].config_id, "real/test")]
    assert sum(int(row["n"]) for row in counts) == alone["n"]
    assert any(line.endswith("left out of means and intervals, unless no seed has predictions")
               for line in said.problems)


@pytest.mark.parametrize("change", [{"n": 7}, {"accuracy": 0.123}])
def test_a_result_that_its_own_counts_contradict_is_left_out(
    small: Simulated, change: dict[str, float]
) -> None:
    path = small.file(2, "results", "real/test")
    write_json(path, read_json(path) | change)
    said = build(small).said
    assert any("does not match its confusion counts" in line for line in said.problems)
    assert not any(row["run"] == small.runs[2].run and row["test_on"] == "real/test"
                   for row in rows(small.out / "results.csv"))


def test_an_error_of_many_runs_is_said_once_with_some_of_them(small: Simulated) -> None:
    run = small.runs[0]
    many = [replace(failed(run, "Traceback\nCUDA out of memory"), run=f"{run.run}-{number}",
                    folder=run.folder.parent / f"lost-{number}") for number in range(30)]
    said = build(small, runs=[*many, failed(small.runs[1], "ValueError: another")]).said
    (first, second) = said.failures
    assert (len(first.runs), first.more, said.failed) == (12, 18, 31)
    assert second.error == "ValueError: another"
    for file in ("index.html", "report.md"):
        text = (small.out / file).read_text()
        assert text.count("CUDA out of memory") == 1 and "18 more" in text


@pytest.mark.slow
def test_figures_of_an_earlier_study_file_go(small: Simulated) -> None:
    build(small, study=small.study.model_copy(update={"baselines": ALL}), figures=True)
    assert (small.out / "figures/robustness.png").is_file()
    build(small, study=make_study(gap=None, compare={}), runs=small.runs[:1], figures=True)
    names = {path.stem for path in (small.out / "figures").iterdir()}
    assert names == {"gap", "recall", "reliability", "curves", "confusion"}


@pytest.mark.parametrize("ranks", ["two", None, [1]])
def test_a_number_of_processes_that_is_none_is_left_out(small: Simulated, ranks: object) -> None:
    write_json(small.runs[0].folder / "env.json", {"python": "3.11", "world_size": ranks,
                                                   "cpu": "a processor", "precision": "float32"})
    text = " ".join(build(small).said.methods)
    assert "a processor, precision float32" in text


@pytest.mark.slow
def test_figures_that_another_report_is_writing_stay(small: Simulated) -> None:
    build(small, study=small.study.model_copy(update={"baselines": ALL}), figures=True)
    figure, page = small.out / "figures/robustness.png", small.out / "index.html"
    later = page.stat().st_mtime + 5
    os.utime(figure, (later, later))
    build(small, study=make_study(gap=None, compare={}), runs=small.runs[:1], figures=True)
    assert figure.is_file() and not (small.out / "figures/robustness.svg").exists()
