"""What a report finds over all configurations: ties, families, ensembles, parts, robustness."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy.special import softmax
from simulated_study import (
    CLASSES,
    SMALL,
    Simulated,
    build,
    make_study,
    predictions,
    rows,
    simulate,
    write_run,
)
from sklearn.metrics import balanced_accuracy_score, log_loss

from fer.atomic_io import write_json
from fer.config.load import load_run
from fer.config.study import Study
from fer.data.metadata import Facts as PictureFacts
from fer.data.metadata import write_facts
from fer.evaluate.effective_robustness import fit_line
from fer.evaluate.metrics import confusion, measure
from fer.evaluate.predictions import Predictions, predictions_path, write_predictions
from fer.evaluate.significance import THESE_MODELS
from fer.report.analysis import Analysis, analyse
from fer.report.build_report import About, find
from fer.report.comparisons import compare
from fer.report.configurations import configurations
from fer.report.figures.canvas import MARKERS, OKABE_ITO, cycle, fitted, shown_rows
from fer.report.figures.catalogue import planned
from fer.report.figures.reliability import confidences
from fer.report.overall import BELOW, BEST, TIED, overall_findings
from fer.report.page.gallery import disputed
from fer.report.read.load_results import LoadedResults, Measured, load_results
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import ReportRun, read_curve
from fer.report.report_tables import comparisons, results
from fer.report.study_report import facts_of
from fer.report.subgroups import PER_PERSON
from fer.report.summary import OF_MODELS, summarise
from fer.report.terminal import print_summary
from fer.untrusted_io import read_json

SLOW = pytest.mark.slow


@pytest.fixture()
def small(tmp_path: Path) -> Simulated:
    """Return a study that a test may change: two seeds, two small sets."""
    return simulate(tmp_path, 2, sizes=SMALL)


def in_memory(tables: Mapping[tuple[str, int], Mapping[str, Predictions]]) -> LoadedResults:
    """Return what was gathered of runs (recipe, seed) that were never written."""
    runs = tuple(ReportRun(f"{recipe}-s{seed}", f"{recipe}{seed}", recipe, "b", recipe, "t", seed,
                           Path("none"), "done") for recipe, seed in tables)
    measured = {}
    for run in runs:
        for split, table in tables[run.recipe, run.seed].items():
            counts = confusion(table.labels, table.predicted, 3)
            metrics = {"n": len(table), "nll": 0.0, "ece": 0.0, "confusion": counts.tolist(),
                       "classes": list(CLASSES), "recall": {}}
            metrics |= {name: 0.0 for name in ("uar", "accuracy", "macro_f1")}
            measured[run.run, split] = Measured(run, split, "digest", metrics, table)
    splits = tuple(dict.fromkeys(split for one in tables.values() for split in one))
    return LoadedResults(runs, splits, measured, {}, ())


def answers(rng: np.random.Generator, labels: np.ndarray, hard: np.ndarray,
            skill: float, spread: float = 0.0) -> Predictions:
    """Return one model's answers: right where skill beats how hard the picture is for it.

    Args:
        spread: standard deviation of the skill between seeds.
    """
    right = hard + rng.normal(size=len(labels)) < skill + spread * rng.normal()
    predicted = np.where(right, labels, (labels + 1) % 3)
    names = [f"p{i}" for i in range(len(labels))]
    return Predictions(names, [f"q{i // 2}" for i in range(len(labels))], labels,
                       np.eye(3, dtype=np.float32)[predicted], CLASSES)


def one_family(rng: np.random.Generator, skills: Mapping[str, float], seeds: int,
               n: int = 135, spread: float = 0.0) -> tuple[Study, Analysis]:
    labels, hard = rng.choice(3, n, p=[0.15, 0.35, 0.5]), rng.normal(size=n)
    gathered = in_memory({(recipe, seed): {"real/test": answers(rng, labels, hard, skill, spread)}
                          for recipe, skill in skills.items() for seed in range(seeds)})
    study = make_study(evaluate_on=["real/test"], gap=None,
                       compare={"recipes": {"over": "recipe", "on": ["real/test"]}})
    return study, analyse(study, gathered)


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), *(
    pytest.param(5, spread, marks=SLOW) for spread in (0.3, 0.6))])
def test_models_of_equal_skill_are_told_apart_in_one_family_of_twenty_at_most(
    seeds: int, spread: float
) -> None:
    rng, claimed, ranked, families = np.random.default_rng(seeds), 0, 0, 100
    for _ in range(families):
        study, analysis = one_family(rng, dict.fromkeys("abcd", 0.5), seeds, spread=spread)
        (family,) = compare(study, analysis)
        assert len(family.pairs) == 6
        claimed += family.ranked > 0
        over = overall_findings(analysis)
        assert over is not None
        ranked += BELOW in over.standing.values()
    assert claimed / families <= 0.07, claimed  # 0.05 within the error of 100 families
    assert ranked / families <= 0.07, ranked


def test_a_model_that_is_clearly_better_is_the_best_and_equals_are_tied() -> None:
    rng = np.random.default_rng(1)
    study, analysis = one_family(rng, {"a": 2.0, "b": 0.2, "c": 0.2}, 2, n=300)
    over = overall_findings(analysis)
    assert over is not None
    assert over.standing == {"a": BEST, "b": BELOW, "c": BELOW}
    study, analysis = one_family(rng, {"a": 1.0, "b": 1.0, "c": -0.5}, 2, n=300)
    over = overall_findings(analysis)
    assert over is not None and over.standing == {"a": TIED, "b": TIED, "c": BELOW}
    (family,) = compare(study, analysis)
    assert {pair.left + pair.right: [one.seed for one in pair.exact] for pair in family.pairs} == {
        "ab": [0, 1], "ac": [0, 1], "bc": [0, 1]}


def predictions_of(run: ReportRun, split: str) -> Predictions:
    from fer.evaluate.predictions import read_predictions

    return read_predictions(predictions_path(run.folder, split))


def test_ensembles_stand_beside_the_single_models(small: Simulated) -> None:
    for run in small.runs[:8]:
        rng = np.random.default_rng([int(run.run_id), 9])
        table = predictions("mlfw/eval", 1.0, [int(run.run_id), 9], {"mlfw/eval": ("v", 90)})
        noise = rng.normal(size=table.logits.shape).astype(np.float32)
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"),
                          replace(table, logits=table.logits + noise))
    said = build(small).said
    found = rows(small.out / "ensembles.csv")
    assert {row["how"] for row in found} == {"its seeds", "all runs", "greedy on validation"}
    row = next(row for row in found if row["how"] == "its seeds" and row["metric"] == "uar"
               and row["test_on"] == "real/test")
    members = [run for run in small.runs if run.run in row["members"].split(";")]
    tables = [predictions_of(run, "real/test") for run in members]
    assert len(members) == 2
    mean = np.mean([np.exp(one.logits) / np.exp(one.logits).sum(1, keepdims=True)
                    for one in tables], axis=0)
    assert float(row["score"]) == pytest.approx(
        balanced_accuracy_score(tables[0].labels, mean.argmax(1)), abs=1e-6)
    texts = [field.text for fields in said.listings["ensembles"].rows for field in fields]
    assert "ensemble: all runs" in texts and "scratch · ensemble" in texts


def test_without_validation_predictions_there_is_no_greedy_ensemble_and_it_is_said(
    small: Simulated
) -> None:
    said = build(small).said
    assert any("no greedy ensemble" in line for line in said.problems)
    assert "greedy on validation" not in (small.out / "ensembles.csv").read_text()


def test_validation_of_other_pictures_or_classes_is_no_part_of_a_greedy_ensemble(
    small: Simulated
) -> None:
    for place, run in enumerate(small.runs):
        crowd = "w" if place == 0 else "v"
        table = predictions("mlfw/eval", 1.0, [place], {"mlfw/eval": (crowd, 60)})
        if place == 1:
            table = replace(table, classes=("a", "b", "c"))
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"), table)
    said = build(small).said
    assert any("excludes 2 of 8 runs for having other validation pictures" in line
               for line in said.problems)
    greedy = [row for row in rows(small.out / "ensembles.csv") if row["how"].startswith("greedy")]
    assert not {run.run for run in small.runs[:2]} & {
        member for row in greedy for member in row["members"].split(";")}


def test_validation_with_other_masks_is_no_part_of_a_greedy_ensemble(small: Simulated) -> None:
    for place, run in enumerate(small.runs):
        table = predictions("mlfw/eval", 1.0, [place], {"mlfw/eval": ("v", 60)})
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"), table)
        if place == 0:
            (run.folder / "env.json").write_text('{"validation_drawn": "masks 7", "kept": "k"}')
    said = build(small).said
    assert any("excludes 1 of 8 runs for having other validation pictures" in line
               for line in said.problems)
    assert "weights kept: k" in said.summary.status


def test_what_keeps_runs_out_of_a_greedy_ensemble_is_said(small: Simulated) -> None:
    by_set: dict[str, list[ReportRun]] = {}
    for run in small.runs:
        by_set.setdefault(run.train_on, []).append(run)
    damaged, odds, _, *others = next(iter(by_set.values()))
    for place, run in enumerate([damaged, odds, *others]):
        table = predictions("mlfw/eval", 1.0, [place], {"mlfw/eval": ("v", 60)})
        if run is odds:
            table = replace(table, logits=np.full_like(table.logits, 1 / 3))
        if run is others[0]:  # always right: nothing makes it better
            table = replace(table, logits=9 * np.eye(3, dtype=np.float32)[table.labels])
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"), table)
    predictions_path(damaged.folder, f"{damaged.train_on}/val").write_bytes(b"PAR1")
    said = " | ".join(build(small).said.problems)
    assert f"{damaged.run}: predictions/{damaged.train_on}/val.parquet: cannot be read" in said
    assert f"{odds.run}: predictions/{odds.train_on}/val.parquet holds probabilities" in said
    assert f"3 of {len(others) + 3} runs for lack of validation predictions" in said
    assert f"chose a single run, {others[0].run}" in said


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_with_one_seed_it_is_the_models_that_are_better_and_not_the_methods(seeds: int) -> None:
    rng = np.random.default_rng(1)
    study, analysis = one_family(rng, {"a": 2.0, "b": 0.2}, seeds, n=300)
    families = tuple(compare(study, analysis))
    verdicts = [fields[5].text for fields in comparisons(families[0]).rows]
    words = " ".join(summarise(analysis, families, overall_findings(analysis)).others)
    assert verdicts == [{1: "these a models are better; other seeds may differ",
                         2: "a is better (seed spread poorly known)", 5: "a is better"}[seeds]]
    assert (families[0].pairs[0].winner is None) == (seeds == 1)
    assert (THESE_MODELS in words) == (OF_MODELS in words) == (seeds == 1)


def test_where_the_line_falls_there_is_no_effective_robustness_and_it_is_said() -> None:
    rng = np.random.default_rng(5)
    labels, hard = rng.choice(3, 200, p=[0.15, 0.35, 0.5]), rng.normal(size=200)
    gathered = in_memory({(name, seed): {
        "mlfw/eval": answers(rng, labels, hard, skill),
        "real/test": answers(rng, labels, hard, 2 - skill)}
        for name, skill in zip("abcde", (0.2, 0.6, 1.0, 1.4, 1.8), strict=True)
        for seed in range(2)})
    study = make_study(evaluate_on=["mlfw/eval", "real/test"], compare={},
                       gap={"synthetic": "mlfw/eval", "real": "real/test"})
    over = overall_findings(analyse(study, gathered), [{"backbone": "b"}])
    assert over is not None and over.robustness is None
    assert "no effective robustness" in over.no_line and "slope −" in over.no_line.replace("-", "−")


@pytest.mark.parametrize("content", ["[]", "3", '{"packages": 3, "git": [1], "digests": ["x"]}'])
def test_a_damaged_record_of_the_machine_is_left_out(small: Simulated, content: str) -> None:
    (small.runs[0].folder / "env.json").write_text(content)
    (small.runs[1].folder / "env.json").write_text(
        '{"python": "3.11", "packages": {"torch": "2.10"}, '
        '"digests": {"lfw/train": "abc", "weights": "123", "mask_types": "9"}}')
    lines = build(small).said.methods
    assert any("torch 2.10" in line for line in lines)
    (digests,) = [line for line in lines if "lfw/train abc" in line]
    assert f"initial weights of {small.runs[1].backbone} 123" in digests
    assert "mask_types" not in digests


def test_every_confusion_matrix_is_in_a_file_and_the_page_says_which_rows_open(
    small: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.row_details.DETAILS_SHOWN", 3)
    build(small)
    found = [row for row in rows(small.out / "confusion.csv") if not row["fact"]]
    configs = {run.config_id for run in small.runs}
    assert len(found) == len(configs) * len(SMALL) * 9
    mine = [run for run in small.runs if run.config_id == small.runs[0].config_id]
    tables = [predictions_of(run, "real/test") for run in mine]
    for truth, called in np.ndindex(3, 3):
        (row,) = [row for row in found if row["config_id"] == mine[0].config_id
                  and row["test_on"] == "real/test" and row["class"] == CLASSES[truth]
                  and row["called"] == CLASSES[called]]
        assert int(row["n"]) == sum(
            int(((one.labels == truth) & (one.predicted == called)).sum()) for one in tables)
    page = (small.out / "index.html").read_text()
    assert f"The first 3 of {len(configs)} configurations open" in page
    assert page.count('class="matrix"') == 3 * len(SMALL)


def test_a_row_opens_to_what_is_known_of_its_configuration(
    small: Simulated, tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    Image.new("RGB", (20, 20)).save(picture)
    view = build(small, pictures=lambda name: picture, facts=lambda name: {
        "mask_type": "cloth" if name[-5] in "02468" else "paper"}).said
    best = view.listings["results"].rows[0][0].opens
    assert next(iter(view.details)) == best and len(view.details) == 8
    one = view.details[best]
    tables = [predictions_of(run, "real/test") for run in small.runs if run.config_id == best]
    wrong = np.all([table.predicted != table.labels for table in tables], axis=0)
    assert (one.split, one.seeds, one.of) == ("real/test", len(tables), len(wrong))
    assert one.wrong == int(wrong.sum()) and len(one.shown) == min(6, one.wrong)
    assert {row[1].text for row in one.mask_types.rows} == {"cloth", "paper"}
    assert [row[0].text for row in one.recalls.rows] == list(CLASSES)
    assert len(one.recalls.columns) == 4 and len(one.matrices) == 2
    assert f'id="detail-{best}" hidden' in (small.out / "index.html").read_text()


def test_summary_has_brier_and_auroc_as_means_over_runs(small: Simulated) -> None:
    build(small)
    for row in rows(small.out / "summary.csv"):
        single = [json.loads((run.folder / f"results/{row['test_on']}.json").read_text())
                  for run in small.runs if run.config_id == row["config_id"]]
        for name in ("brier", "auroc"):
            assert float(row[name]) == pytest.approx(
                np.mean([one[name] for one in single]), abs=1e-6)


def test_the_methods_name_the_settings_of_training(small: Simulated) -> None:
    for number, run in enumerate(small.runs):
        lr = 0.01 if run.config_id == small.runs[0].config_id else 0.001
        (run.folder / "config.yaml").write_text(
            f"backbone: {{input_size: 48}}\ndata: {{sets: {{}}}}\ntrain: {{epochs: 12}}\n"
            f"optim: {{name: adamw, lr: {lr}, clip_norm: null}}\nseed: {number}\n")
    (line,) = [line for line in build(small).said.methods if line.startswith("Settings of")]
    others = len({run.config_id for run in small.runs}) - 1
    assert line.endswith(f"config.yaml): input size 48; optim.name adamw; optim.lr 0.001 ({others})"
                         ", 0.01 (1); train.epochs 12.")
    (small.runs[0].folder / "config.yaml").write_text("[unclosed")
    (small.runs[2].folder / "config.yaml").write_text("3")
    (line,) = [line for line in build(small).said.methods if line.startswith("Settings of")]
    assert line.startswith(f"Settings of {others - 1} of {others + 1} configurations")


def test_probabilities_in_place_of_logits_are_said_and_left_out(small: Simulated) -> None:
    run = small.runs[0]
    table = predictions_of(run, "real/test")
    odds = np.exp(table.logits)
    write_run(run, {"real/test": replace(table, logits=odds / odds.sum(1, keepdims=True))})
    said = build(small).said
    assert any("hold probabilities" in line and run.run in line for line in said.problems)
    assert any("ensembles exclude 1 of 16 runs" in line for line in said.problems)
    (row,) = [row for row in rows(small.out / "ensembles.csv") if row["how"] == "all runs"
              and (row["train_on"], row["test_on"], row["metric"]) == (
                  run.train_on, "real/test", "uar")]
    assert run.run not in row["members"] and len(row["members"].split(";")) == 7


def test_parts_of_a_test_set_are_those_that_the_data_set_names(small: Simulated) -> None:
    kinds = ("cloth", "surgical", "")

    def facts(sample_id: str) -> dict[str, str]:
        kind = kinds[int(sample_id[-8:-4]) % 3]
        return {"mask_type": kind} if kind and sample_id.startswith("real") else {}

    build(small, facts=facts)
    found = [row for row in rows(small.out / "parts.csv") if row["fact"] == "mask_type"]
    assert {(row["test_on"], row["value"]) for row in found} == {
        ("real/test", "cloth"), ("real/test", "surgical")}
    row = next(row for row in found if row["metric"] == "uar" and row["value"] == "cloth")
    values = []
    for run in small.runs:
        if run.config_id == row["config_id"]:
            table = predictions_of(run, "real/test")
            keep = [facts(name).get("mask_type") == "cloth" for name in table.sample_ids]
            values.append(balanced_accuracy_score(table.labels[keep], table.predicted[keep]))
    assert float(row["score"]) == pytest.approx(np.mean(values), abs=1e-6)
    assert int(row["n"]) == sum(keep)
    accuracy = next(row for row in found if row["metric"] == "accuracy")
    assert float(accuracy["low"]) < float(accuracy["high"])


def test_parts_have_every_metric_and_each_is_that_of_the_part_alone(small: Simulated) -> None:
    def facts(sample_id: str) -> dict[str, str]:
        return {"mask_type": ("cloth", "surgical")[int(sample_id[-8:-4]) % 2]}

    build(small, facts=facts)
    found = [row for row in rows(small.out / "parts.csv") if row["fact"] == "mask_type"
             and row["value"] == "cloth" and row["test_on"] == "real/test"]
    mine = [run for run in small.runs if run.config_id == small.runs[0].config_id]
    alone, together = {}, np.zeros((3, 3), int)
    for run in mine:
        table = predictions_of(run, "real/test")
        keep = np.array([facts(name)["mask_type"] == "cloth" for name in table.sample_ids])
        one = measure(table.labels[keep], table.logits[keep], CLASSES)
        together += np.array(one["confusion"])
        alone[str(run.seed)] = {name: one[name] for name in (
            "accuracy", "uar", "macro_f1", "nll", "brier", "ece", "auroc")} | {
            f"{kind}:{name}": one[kind][name] for kind in ("recall", "precision")
            for name in CLASSES}
    for metric in next(iter(alone.values())):
        scores = {row["seed"]: float(row["score"]) for row in found if row["metric"] == metric
                  and row["config_id"] == mine[0].config_id}
        assert scores == pytest.approx({seed: one[metric] for seed, one in alone.items()} | {
            "": np.mean([one[metric] for one in alone.values()])}, abs=2e-6), metric
    counts = [int(row["n"]) for row in rows(small.out / "confusion.csv")
              if (row["config_id"], row["test_on"], row["fact"], row["value"]) == (
                  mine[0].config_id, "real/test", "mask_type", "cloth")]
    assert counts == together.ravel().tolist()


def test_how_many_pictures_a_person_has_makes_parts_too(small: Simulated) -> None:
    run_names = {run.config_id for run in small.runs}
    for run in small.runs:  # every third person has one picture, as the other is somebody else's
        table = predictions_of(run, "real/test")
        alone = [f"{name}-{place}" if place % 3 == 0 else name
                 for place, name in enumerate(table.identities)]
        write_run(run, {"real/test": replace(table, identities=alone)})
    build(small)
    found = [row for row in rows(small.out / "parts.csv") if row["fact"] == PER_PERSON
             and row["test_on"] == "real/test" and row["metric"] == "accuracy"]
    assert {row["value"] for row in found} == {"1", "2–4"}
    assert len([row for row in found if not row["seed"]]) == 2 * len(run_names)
    assert {int(row["n"]) for row in found if row["value"] == "1"} == {40}
    run = small.runs[0]
    table = predictions_of(run, "real/test")
    alone = np.array([table.identities.count(name) == 1 for name in table.identities])
    (row,) = [row for row in found if row["seed"] == str(run.seed) and row["value"] == "1"
              and row["config_id"] == run.config_id]
    right = table.predicted[alone] == table.labels[alone]
    assert float(row["score"]) == pytest.approx(right.mean(), abs=1e-6)


def test_standing_and_the_smallest_detectable_difference_are_said(small: Simulated) -> None:
    said = build(small).said
    assert any("tied for the best" in line or "better than all" in line
               for line in said.summary.others)
    (family,) = said.families
    assert family.detectable is not None and 0.05 < family.detectable < 0.6
    words = f"about {100 * family.detectable:.0f} points for recipes"
    assert any(words in line for line in said.summary.others)


def test_predictions_that_only_one_seed_has_are_no_crash(small: Simulated) -> None:
    for run in small.runs:
        gone = 0 if run.backbone == "cbam_tiny" else 1
        if run.seed == gone:
            predictions_path(run.folder, "real/test").unlink()
    said = build(small).said
    assert said.across is not None and said.across.of_models
    assert {row["seeds"] for row in rows(small.out / "summary.csv")
            if row["test_on"] == "real/test"} == {"1"}


def test_a_real_set_that_is_not_measured_yet_has_no_robustness(tmp_path: Path) -> None:
    study = simulate(tmp_path, 2, sizes={"lfw/eval": ("a", 80), "mlfw/eval": ("a", 80)})
    over = build(study).said.across
    assert over is not None and over.split == "mlfw/eval" and over.robustness is None
    assert len(rows(study.out / "robustness.csv")) == 0


def test_test_sets_of_other_classes_are_left_out_and_said(small: Simulated) -> None:
    for run in small.runs:
        table = predictions_of(run, "real/test")
        more = np.concatenate([table.logits, table.logits[:, :1] - 1], axis=1)
        write_run(run, {"real/test": replace(table, logits=more, classes=(*CLASSES, "angry"))})
    said = build(small).said
    assert any("real/test: has classes" in line and "angry" in line for line in said.problems)
    assert {one.split for one in said.sets} == {"mlfw/eval"}


def test_one_run_of_other_classes_is_not_compared_and_the_others_are(small: Simulated) -> None:
    table = predictions_of(small.runs[0], "real/test")
    more = np.concatenate([table.logits, table.logits[:, :1] - 1], axis=1)
    write_run(small.runs[0], {"real/test": replace(table, logits=more,
                                                   classes=(*CLASSES, "angry"))})
    said = build(small).said
    assert (f"{small.runs[0].run}: has classes negative, neutral, positive, angry on real/test, "
            "most runs have negative, neutral, positive; not compared") in said.problems
    found = [row for row in rows(small.out / "results.csv") if row["test_on"] == "real/test"]
    assert len(found) == len(small.runs) - 1


def test_a_comparison_on_a_set_that_is_not_evaluated_on_is_said(small: Simulated) -> None:
    study = make_study(evaluate_on=list(SMALL), compare={"recipes": {
        "over": "recipe", "on": ["real/test", "lfw/eval"]}})
    (one,) = build(small, study=study).said.comparisons
    assert "lfw/eval is not in evaluate_on" in one.pairs.notes
    assert {pair.split for pair in one.family.pairs} == {"real/test"}


def test_pictures_over_which_models_quarrel_are_those_without_one_answer_for_all(
    small: Simulated, tmp_path: Path
) -> None:
    said = build(small).said
    tables = [predictions_of(run, "real/test") for run in small.runs]
    votes = np.stack([table.predicted for table in tables])
    names = {tables[0].sample_ids[at] for at in np.flatnonzero((votes != votes[0]).any(0))}
    assert said.disputed is not None and said.disputed.total == len(names) > 5
    found = disputed([Measured(run, "real/test", "", {}, table)
                      for run, table in zip(small.runs, tables, strict=True)])
    assert {one.sample_id for one in found} == names
    half = [np.bincount(votes[:, tables[0].sample_ids.index(one.sample_id)]).max()
            for one in (found[0], found[-1])]
    assert half[0] < half[1]  # the most evenly divided first
    assert "Where models disagree" in (small.out / "index.html").read_text()


def test_what_pictures_csv_says_of_pose_and_masks_makes_parts_of_the_test_set(
    small: Simulated, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "REAL-FER"
    ids = predictions_of(small.runs[0], "real/test").sample_ids
    known = {}
    for number, name in enumerate(ids):
        relative = name.partition("/")[2]
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        known[relative] = PictureFacts(pose="left" if number % 3 else "frontal", mask_type="cloth")
    write_facts(folder, known)
    data = load_run("configs/drawn.yaml", {"data.sets.real.folder": "REAL-FER"}).data
    build(small, facts=facts_of(data, tmp_path / "data"))
    parts = {(row["fact"], row["value"]): int(row["n"]) for row in rows(small.out / "parts.csv")
             if row["metric"] == "uar" and not row["seed"] and row["test_on"] == "real/test"}
    assert parts["pose", "left"] == sum(number % 3 > 0 for number in range(len(ids)))
    assert parts["pose", "frontal"] == sum(number % 3 == 0 for number in range(len(ids)))
    found = [row for row in rows(small.out / "parts.csv") if not row["seed"] and row["low"]
             and (row["fact"], row["value"], row["test_on"]) == ("pose", "left", "real/test")]
    whole = {row["config_id"]: float(row["uar"]) for row in rows(small.out / "summary.csv")
             if row["test_on"] == "mlfw/eval"}
    gaps, scores = ({row["config_id"]: float(row["score"]) for row in found
                     if row["metric"] == name} for name in ("gap", "uar"))
    assert gaps == pytest.approx({name: whole[name] - score for name, score in scores.items()},
                                 abs=2e-6) and len(gaps) == 8


def test_a_study_of_which_some_runs_are_done_has_a_report_that_says_so(small: Simulated) -> None:
    runs = [replace(run, state="done" if number < 10 else "training", error="")
            for number, run in enumerate(small.runs)]
    for run in runs[10:]:
        for kind in ("results", "predictions"):
            shutil.rmtree(run.folder / kind)
    said = build(small, runs=runs).said
    assert said.partial and said.done == 10
    assert f"partial: 10 of {len(runs)} runs done" in (small.out / "index.html").read_text()
    assert len(rows(small.out / "results.csv")) == 10 * len(SMALL)
    assert said.comparisons[0].family.pairs  # of what is there


def test_above_what_fits_the_best_rows_are_shown_and_it_is_said(
    small: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.table_model.MOST_ROWS", 3)
    monkeypatch.setattr("fer.report.figures.canvas.MOST_SHOWN", 3)
    said = build(small).said
    results = said.listings["results"]
    place = [column.name for column in results.columns].index("real masks")
    shown = [row[place].key for row in results.rows]
    every = sorted((float(row["uar"]) for row in rows(small.out / "summary.csv")
                    if row["test_on"] == "real/test"), reverse=True)
    assert len(shown) == 3 and shown == pytest.approx(every[:3], abs=1e-6)
    assert "3 of " in results.notes[-1] and "all are in summary.csv" in results.notes[-1]
    (one,) = said.comparisons
    if len(one.family.pairs) > 3:
        p = [row[4].key for row in one.pairs.rows]
        assert p == sorted(p) and "comparisons.csv" in one.pairs.notes[-1]
    configs, note = shown_rows(analyse(small.study, load_results(small.study, small.runs,
                                                                 ReportCache(small.root))))
    assert len(configs) == 3 and "the 3 of 8 configurations with the highest UAR on real" in note


def test_names_fit_their_place_and_leave_out_what_all_share(small: Simulated) -> None:
    label = "resmasking_tiny · lp_ft · mlfw · mask_type_weights=balanced · augment=trivial"
    assert fitted(label, 40, 3) == (
        "resmasking_tiny · lp_ft · mlfw\nmask_type_weights=balanced\naugment=trivial")
    assert fitted(label, 40, 1) == "resmasking_tiny · l…ed · augment=trivial"
    runs = [replace(run, axes={"optim.lr": f"{number // 2 % 2}", "train.augment": "light"})
            for number, run in enumerate(small.runs)]
    for config in configurations(runs):
        assert "lr=" in config.label and "augment" not in config.label
        assert dict(config.axes)["train.augment"] == "light"  # the files have it


def test_labels_tell_axes_of_one_last_word_apart_and_runs_outside_the_grid_change_none(
    small: Simulated,
) -> None:
    runs = [replace(run, axes={"optim.lr": "1"} if number % 4 < 2 else {"head.lr": "1"})
            for number, run in enumerate(small.runs)]
    labels = [config.label for config in configurations(runs)]
    assert len(set(labels)) == len(labels)
    assert any("optim.lr=1" in label for label in labels)
    same = [replace(run, axes={"train.augment": "light"}) for run in small.runs]
    parent = replace(small.runs[0], run="parent", config_id="parent", axes={}, state="failed")
    assert ([config.label for config in configurations([*same, parent])][:-1]
            == [config.label for config in configurations(same)])


def test_a_real_set_that_is_not_measured_does_not_choose_what_figures_show(
    small: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.figures.canvas.MOST_SHOWN", 3)
    for number, _ in enumerate(small.runs):
        small.file(number, "results", "real/test").unlink()
    analysis = analyse(small.study, load_results(small.study, small.runs, ReportCache(small.root)))
    configs, note = shown_rows(analysis)
    scores = [analysis.cells[config.config_id, "mlfw/eval"].metrics["uar"].value or 0.0
              for config in configs]
    assert "highest UAR on mlfw/eval" in note and scores == sorted(scores, reverse=True)


def test_runs_of_several_states_of_the_code_are_noted(small: Simulated) -> None:
    for number, run in enumerate(small.runs):
        write_json(run.folder / "env.json", {"git": {
            "commit": "a" * 40 if number else "b" * 40, "dirty": number == 1}, "cpu": "Some CPU"})
    said = build(small).said
    assert any("runs use 3 code versions; 1 run had uncommitted changes" in line
               for line in said.problems)
    assert any("Some CPU" in line for line in said.methods)
    assert any("scipy" in line and "scikit-learn" in line for line in said.methods)


@pytest.mark.parametrize("change", [
    {"support": [1]}, {"confusion": "x"}, {"confusion": [[1]]}, {"classes": 3}, {"recall": None},
    {"brier": "x"}, {"precision": {}}, {"confusion": [["a", 0, 0], [0, 1, 0], [0, 0, 1]]},
    {"recall": {"negative": "x", "neutral": 1.0, "positive": 0.5}}])
def test_a_malformed_result_is_left_out_and_said(
    small: Simulated, change: dict[str, object]
) -> None:
    path = small.file(0, "results", "real/test")
    write_json(path, {**read_json(path), **change})
    said = build(small).said
    assert any(small.runs[0].run in line and "left out" in line for line in said.problems)
    assert len(rows(small.out / "results.csv")) == 31


BASELINES = [{"recipe": "scratch"}, {"recipe": ["lp_ft"], "train_on": "lfw"}]  # six of eight


def test_robustness_is_written_with_its_line(small: Simulated) -> None:
    build(small, study=small.study.model_copy(update={"baselines": BASELINES}))
    found = rows(small.out / "robustness.csv")
    assert len(found) == 8 and len({row["slope"] for row in found}) == 1
    means = {(row["config_id"], row["test_on"]): float(row["uar"])
             for row in rows(small.out / "summary.csv")}
    from scipy.stats import linregress, norm

    ids = sorted({row["config_id"] for row in found if row["baseline"] == "yes"})
    assert len(ids) == 6
    line = linregress(norm.ppf([means[one, "mlfw/eval"] for one in ids]),
                      norm.ppf([means[one, "real/test"] for one in ids]))
    assert float(found[0]["slope"]) == pytest.approx(line.slope, abs=1e-5)
    assert sum(float(row["effective_robustness"]) for row in found
               if row["baseline"] == "yes") == pytest.approx(0, abs=0.1)
    assert all(float(row["low"]) < float(row["effective_robustness"]) < float(row["high"])
               for row in found)


def test_gaps_are_compared_beside_the_tests_and_their_difference_has_limits_of_its_own(
    small: Simulated,
) -> None:
    build(small)
    gaps = {(f"{row['backbone']} · {row['train_on']}", row["recipe"]): float(row["gap"])
            for row in rows(small.out / "gap.csv") if row["metric"] == "uar"}
    seen = 0
    for row in rows(small.out / "comparisons.csv"):
        if row["test_on"] != "real/test":
            assert row["gap_difference"] == ""
            continue
        value, low, high = (float(row[f"gap_{end}"]) for end in ("difference", "low", "high"))
        apart = gaps[row["among"], row["left"]] - gaps[row["among"], row["right"]]
        assert low < value < high and value == pytest.approx(apart, abs=2e-6)
        seen += 1
    assert seen == 4


def test_p_values_are_adjusted_as_holm_says(small: Simulated) -> None:
    build(small)
    families: dict[str, list[tuple[float, float]]] = {}
    for row in rows(small.out / "comparisons.csv"):
        if row["p_holm"]:
            families.setdefault(row["family"], []).append((float(row["p"]), float(row["p_holm"])))
    assert families and max(map(len, families.values())) > 2
    for pairs in families.values():
        bar = 0.0
        for place, (p, adjusted) in enumerate(sorted(pairs)):
            bar = max(bar, min(1.0, (len(pairs) - place) * p))
            assert adjusted == pytest.approx(bar, abs=1e-5)


@pytest.mark.parametrize(("seeds", "words"), [(1, "best of these models"), (5, "best")])
def test_with_one_seed_the_best_are_the_best_of_these_models(seeds: int, words: str) -> None:
    study, analysis = one_family(np.random.default_rng(1), {"a": 2.0, "b": 0.2}, seeds, n=300)
    (found,
     ) = [field for row in results(analysis, overall_findings(analysis)).rows for field in row
                if field.text.startswith("best")]
    assert (found.text, found.look) == (words, "good" if seeds == 5 else "plain")
    (family,) = compare(study, analysis)
    assert family.of_models == (seeds == 1)


def test_runs_that_err_either_way_do_not_make_a_calibrated_training_set() -> None:
    rng = np.random.default_rng(2)
    labels = rng.choice(3, 3000, p=[0.2, 0.3, 0.5])
    right = np.where(rng.random(3000) < 0.7, labels, (labels + 1) % 3)

    def sure(how: float) -> Predictions:
        names = [f"p{i}" for i in range(3000)]
        logits = np.log(np.where(np.eye(3)[right] == 1, how, (1 - how) / 2))
        return Predictions(names, names, labels, logits.astype(np.float32), CLASSES)

    gathered = in_memory({("a", 0): {"real/test": sure(0.9)}, ("a", 1): {"real/test": sure(0.5)}})
    study = make_study(evaluate_on=["real/test"], gap=None, compare={})
    (found,) = confidences(gathered, analyse(study, gathered), "real/test").values()
    errors = [measure(labels, sure(how).logits, CLASSES)["ece"] for how in (0.9, 0.5)]
    assert found.error == pytest.approx(np.mean(errors), abs=1e-6) and found.error > 0.15


def test_recipes_and_what_runs_start_from_are_in_the_methods(small: Simulated) -> None:
    for run in small.runs:
        config = load_run("configs/study2021.yaml", {"recipe": run.recipe})
        (run.folder / "config.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    text = " ".join(build(small).said.methods)
    assert "lp_ft: init {source pretrained}, phase {name probe, train [head], batch_norm frozen, "\
        "epochs 4, schedule {name constant}, views 4}" in text
    assert "resmasking_dropout1.pth" in text and "optim.momentum" not in text


def test_the_methods_say_how_faces_are_framed_or_that_nobody_measured_it(small: Simulated) -> None:
    text = " ".join(build(small, framing={"real/test": "faces fill 58% of the side"}).said.methods)
    assert "real/test: faces fill 58% of the side." in text and "not measured" not in text
    text = " ".join(build(small).said.methods)
    assert "was not measured (python launch/data.py verify" in text


def test_how_well_the_robustness_line_holds_is_that_of_least_squares(small: Simulated) -> None:
    from scipy.stats import linregress, norm, t

    study = small.study.model_copy(update={"baselines": [{"backbone": ["cbam_tiny",
                                                                       "resmasking_tiny"]}]})
    analysis = analyse(study, load_results(study, small.runs, ReportCache(small.root)))
    over = overall_findings(analysis, study.baselines)
    assert over is not None and over.robustness is not None
    x, y = (norm.ppf([analysis.cells[config.config_id, split].metrics["uar"].value
                      for config in analysis.configs]) for split in ("mlfw/eval", "real/test"))
    fit, line = linregress(x, y), over.robustness.line
    assert (line.slope, line.r2) == pytest.approx((fit.slope, fit.rvalue ** 2))
    half = t.ppf(0.975, 6) * fit.stderr
    assert (line.low, line.high) == pytest.approx((fit.slope - half, fit.slope + half))
    note = " ".join(build(small, study=study).said.listings["robustness"].notes)
    assert f"slope is {line.slope:.2f}" in note and f"R² = {line.r2:.2f}" in note


def test_an_intervention_does_not_bend_the_line_towards_itself() -> None:
    """Five baselines on a line and one +10 points above it: it comes out as +10."""
    from scipy.stats import norm

    synthetic = np.array([0.5, 0.58, 0.66, 0.74, 0.82])
    real = norm.cdf(0.9 * norm.ppf(synthetic) - 0.4)
    line = fit_line(list(zip(synthetic, real, strict=True)))
    assert line is not None
    better = float(norm.cdf(0.9 * norm.ppf(0.7) - 0.4)) + 0.10
    assert better - line.real(0.7) == pytest.approx(0.10, abs=1e-9)
    assert fit_line(list(zip(synthetic[1:], real[1:], strict=True))) is None


def test_four_baselines_or_none_show_no_effective_robustness(small: Simulated) -> None:
    four = small.study.model_copy(update={"baselines": [{"recipe": "scratch"}]})
    said = build(small, study=four).said
    assert "robustness" not in said.listings
    assert any("4 measured baselines, and a line takes 5" in line for line in said.problems)
    said = build(small).said
    assert "robustness" not in said.listings
    assert not any("robustness" in line for line in said.problems)


def test_forty_two_series_have_looks_of_their_own() -> None:
    looks = list(zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False))[:42]
    assert len(set(looks)) == 42


def test_ensembles_have_the_metrics_of_probabilities_too(small: Simulated) -> None:
    said = build(small).said
    found = {row["metric"] for row in rows(small.out / "ensembles.csv")}
    assert {"nll", "brier", "ece", "auroc"} <= found
    members = [run for run in small.runs if run.config_id == small.runs[0].config_id]
    mean = np.mean([softmax(predictions_of(run, "real/test").logits, axis=1) for run in members], 0)
    labels = predictions_of(members[0], "real/test").labels
    (nll,) = [float(row["score"]) for row in rows(small.out / "ensembles.csv")
              if (row["metric"], row["test_on"], row["how"]) == ("nll", "real/test", "its seeds")
              and members[0].run in row["members"]]
    assert nll == pytest.approx(log_loss(labels, mean, labels=[0, 1, 2]), abs=1e-5)
    assert any("ensemble" in row[0].text for row in said.listings["metrics"].rows)


def test_small_p_values_are_not_zero_in_files(small: Simulated) -> None:
    said = build(small).said
    pairs = [pair for family in said.families for pair in family.pairs]
    assert [float(row["p"]) for row in rows(small.out / "comparisons.csv")] == pytest.approx(
        [pair.difference.p for pair in pairs], rel=1e-5)


def test_curves_of_runs_that_still_train_say_how_many_pictures_validate(small: Simulated) -> None:
    for run in small.runs:
        write_json(run.folder / "env.json", {"validation_pictures": 97})
    curve = read_curve(small.runs[0], ReportCache(small.root))
    assert curve is not None
    found = find(small.study, small.runs, ReportCache(small.root), About(lambda _: None))
    assert found.provenance.validation == {"lfw": 97, "mlfw": 97}
    _, drawing = planned(found, [curve])["curves"]
    (legend,) = drawing(False).legends
    assert any("n = 97" in text.get_text() for text in legend.get_texts())


def test_the_terminal_and_the_markdown_of_a_large_study_have_what_fits(
    small: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.report.table_model.MOST_ROWS", 3)
    monkeypatch.setattr("fer.report.terminal.MOST_ROWS", 3)
    summary, console = build(small), Console(width=120, record=True, file=StringIO())
    print_summary(summary, console)
    text = console.export_text()
    assert "3 of 8 configurations, the highest on real/test; summary.csv has all" in text
    best = sorted(summary.said.rows, key=lambda row: -row.rank)
    assert best[0].config.label in text and best[-1].config.label not in text
    runs = (small.out / "report.md").read_text().partition("## Runs")[2].partition("##")[0]
    assert runs.count("](../../../runs/") == 3 and "3 of 16 rows" in runs
