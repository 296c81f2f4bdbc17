"""Sentences of a report that must be true of the study at hand, and what must never be silent."""

from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from simulated_study import SMALL, build, make_study, rows, simulate
from test_report_findings import in_memory

from fer.config.study import Study
from fer.evaluate.predictions import Predictions, predictions_path, read_predictions
from fer.report.analysis import Analysis, analyse
from fer.report.comparisons import compare
from fer.report.configurations import Config
from fer.report.gap_sentences import CONFOUND, SAME_PEOPLE
from fer.report.read.run_files import ReportRun
from fer.report.summary import Summary, summarise
from fer.report.terminal import print_summary
from fer.report.test_set_warnings import test_set_warnings as warnings_of

CLASSES = ("negative", "neutral", "positive")
SETS = ["mlfw/eval", "real/test"]


def table(split: str, seed: int, recalls: tuple[float, float, float] = (0.7, 0.7, 0.7),
          n: int = 240, crowd: str = "", permuted: bool = False) -> Predictions:
    """Return predictions of given recalls on pictures of two a person."""
    scene = np.random.default_rng([len(split), n])
    labels = scene.choice(3, n, p=[0.2, 0.35, 0.45])
    rng = np.random.default_rng([seed, len(split), n])
    right = rng.random(n) < np.array(recalls)[labels]
    called = np.where(right, labels, (labels + rng.integers(1, 3, n)) % 3)
    if permuted:
        called = rng.permutation(called)
    crowd = crowd or split
    return Predictions([f"{split}/{i}" for i in range(n)], [f"{crowd} {i // 2}" for i in range(n)],
                       labels, 3 * np.eye(3, dtype=np.float32)[called], CLASSES)


def analysed(tables: Mapping[tuple[str, int], Mapping[str, Predictions]],
             **study: object) -> tuple[Study, Analysis, Summary]:
    made = make_study(**{"evaluate_on": SETS, "compare": {}} | study)
    analysis = analyse(made, in_memory(tables))
    return made, analysis, summarise(analysis, compare(made, analysis))


def text_of(summary: Summary) -> str:
    return " ".join([summary.main, *summary.others, *summary.caveats])


def test_models_whose_labels_are_permuted_are_at_chance_in_words() -> None:
    _, _, said = analysed({("a", seed): {split: table(split, seed, permuted=True)
                                         for split in SETS} for seed in range(3)})
    assert said.main.count("(at chance, 0.33)") == 2
    assert "at chance on both sets, a gap says nothing" in said.main
    _, _, said = analysed({("a", seed): {split: table(split, seed) for split in SETS}
                           for seed in range(3)})
    assert "at chance" not in text_of(said)


def test_a_small_gap_of_models_that_hardly_beat_chance_is_not_good_news() -> None:
    low = (0.30, 0.45, 0.57)  # UAR 0.44
    _, _, said = analysed({("a", seed): {split: table(split, seed, low, 600) for split in SETS}
                           for seed in range(5)})
    assert said.main.count("at chance") == 3 and "not distinguishable from zero" in said.main


def test_recalls_that_shift_under_a_gap_of_zero_are_named() -> None:
    recalls = {"mlfw/eval": (0.9, 0.5, 0.6), "real/test": (0.6, 0.74, 0.68)}
    _, _, said = analysed({("a", seed): {split: table(split, seed, recalls[split], 400)
                                         for split in SETS} for seed in range(3)})
    assert "not distinguishable from zero; but recalls differ: negative +" in said.main
    assert "neutral −" in said.main


def test_a_gap_is_over_the_classes_that_both_sets_have_and_chance_too() -> None:
    tables = {}
    for seed in range(3):
        real = table("real/test", seed, (0.7, 0.4, 0.4))
        kept = np.flatnonzero(real.labels != 0)
        tables["a", seed] = {
            "mlfw/eval": table("mlfw/eval", seed, (0.2, 0.9, 0.9)),
            "real/test": Predictions([real.sample_ids[i] for i in kept],
                                     [real.identities[i] for i in kept], real.labels[kept],
                                     real.logits[kept], CLASSES)}
    _, analysis, said = analysed(tables)
    gap = analysis.gaps["a"]["uar"]
    ends = [np.mean([cell.metrics[f"recall:{name}"].value for name in CLASSES[1:]])
            for cell in analysis.cells.values()]
    assert gap.value == pytest.approx(ends[0] - ends[1]) and gap.value > 0.4
    assert "over the classes that all sets have (not negative)" in said.main
    assert "(at chance, 0.50)" in said.main


def test_people_of_both_sets_are_said_to_be_others_only_where_they_are() -> None:
    for crowd, said, unsaid in (("", CONFOUND, SAME_PEOPLE), ("same", SAME_PEOPLE, CONFOUND)):
        _, _, summary = analysed({("a", 0): {split: table(split, 0, crowd=crowd)
                                             for split in SETS}})
        assert said in summary.caveats and unsaid not in summary.caveats


def test_masks_drawn_on_the_fly_are_said_and_are_not_pooled_with_none(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    masks = str({"template": "drawn", "styles": ["all", "flat"]})
    runs = [replace(run, axes={"train.masks": "None" if run.recipe == "scratch" else masks},
                    recipe="full") for run in study.runs if run.train_on == "lfw"]
    text = text_of(build(study, runs=runs).said.summary)
    assert "Models trained on lfw without drawn masks reach" in text
    assert "lfw with masks drawn on the fly (template: drawn, styles: [all, flat]) reach" in text
    runs = [replace(run, recipe="recommended" if run.recipe == "scratch" else "full")
            for run in study.runs if run.train_on == "lfw"]  # the recipe draws them
    text = text_of(build(study, runs=runs).said.summary)
    assert "Models trained on lfw with masks drawn on the fly reach" in text
    assert "Models trained on lfw reach" in text
    text = text_of(build(study, runs=runs, study=make_study(set={"train.masks": None})
                         ).said.summary)
    assert "on the fly" not in text
    everywhere = make_study(set={"train.masks": {"styles": "all"}})
    text = text_of(build(study, study=everywhere).said.summary)
    assert "Models trained on lfw with masks drawn on the fly reach" in text


def test_logits_that_were_edited_are_found_and_left_out(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    path = study.file(0, "predictions", "real/test")
    whole = pq.read_table(path)
    for column in [name for name in whole.column_names if name.startswith("logit_")]:
        place = whole.column_names.index(column)
        whole = whole.set_column(place, column, [5 * whole[column].to_numpy()])
    pq.write_table(whole, path)
    other = study.file(1, "predictions", "real/test")
    edited = pq.read_table(other)
    place = edited.column_names.index("predicted")
    edited = edited.set_column(place, "predicted", [(edited["predicted"].to_numpy() + 1) % 3])
    pq.write_table(edited, other)
    problems = build(study).said.problems
    assert any(study.runs[0].run in line and "other logits" in line for line in problems)
    assert any(study.runs[1].run in line and "predicted is not the class" in line
               for line in problems)


def test_a_lost_run_does_not_change_what_intervals_include(tmp_path: Path) -> None:
    study = simulate(tmp_path, 3, sizes=SMALL)
    build(study, runs=[run for run in study.runs if run is not study.runs[0]])
    kinds = {(row["interval"], row["seed_df"]) for row in rows(study.out / "summary.csv")}
    assert kinds == {("seeds and test sampling", "15")}


def test_a_collapsed_run_is_listed() -> None:
    flat = table("real/test", 1)
    flat = replace(flat, logits=np.tile(np.float32([0, 0, 1]), (len(flat), 1)))
    _, analysis, _ = analysed({("a", seed): {"mlfw/eval": table("mlfw/eval", seed),
                                             "real/test": flat if seed else table("real/test", 0)}
                               for seed in range(2)})
    (line,) = [line for line in warnings_of(analysis) if "collapsed" in line]
    assert line.startswith("real/test: 1 collapsed run (one class") and "seed 1" in line


def test_unknown_people_are_said(tmp_path: Path) -> None:
    study = simulate(tmp_path, 1, sizes=SMALL)
    from simulated_study import write_run

    for run in study.runs:
        one = read_predictions(predictions_path(run.folder, "real/test"))
        write_run(run, {"real/test": replace(one, identities=[""] * len(one))})
    said = build(study).said
    assert "people unknown on real/test" in said.summary.status


def test_without_a_terminal_names_are_not_broken_into_letters(tmp_path: Path) -> None:
    sizes = {name: ("a", 60) for name in ("a/eval", "b/eval", "mlfw/eval", "real/test")}
    import simulated_study

    simulated_study.SKILL.update({"a/eval": 1.5, "b/eval": 1.5})
    study = simulate(tmp_path, 1, sizes=sizes)
    summary = build(study, study=make_study(evaluate_on=list(sizes)))
    console = Console(width=80, file=StringIO(), record=True)
    print_summary(summary, console)
    text = console.export_text()
    assert "resmasking_tiny" in text and "scratch · mlfw" in text and "real/test" in text
    assert "no room for a/eval" in text and max(map(len, text.splitlines()[:-1])) <= 80


def test_a_legend_of_four_test_sets_is_not_cut() -> None:
    from fer.report.figures.gap_dots import gap_figure

    sets = ["real-masks-of-hospital-a/test", "real-masks-of-hospital-b/test", *SETS]
    _, analysis, _ = analysed({("a", 0): {split: table(split, 0) for split in sets}},
                              evaluate_on=sets)
    for narrow in (False, True):
        figure = gap_figure(analysis, narrow)
        figure.draw_without_rendering()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_family_against_a_baseline_has_one_comparison_a_value_and_set() -> None:
    skills = {"base": 0.5, "good": 0.75, "same": 0.5, "bad": 0.35}
    tables = {(name, seed): {split: table(split, seed + 10 * place, (skill,) * 3, 400)
                             for split in SETS}
              for place, (name, skill) in enumerate(skills.items()) for seed in range(3)}
    plan = {"r": {"over": "recipe", "against": "base", "on": SETS}}
    made, analysis, said = analysed(tables, compare=plan)
    (family,) = compare(made, analysis)
    found = {(pair.split, pair.left): pair for pair in family.pairs}
    assert {pair.right for pair in family.pairs} == {"base"} and len(family.planned) == 6
    assert found["real/test", "good"].winner == "good" == found["mlfw/eval", "good"].winner
    assert found["real/test", "bad"].winner == "base"
    assert found["real/test", "same"].verdict == "tied"
    pair = found["real/test", "good"]
    assert pair.simultaneous.low is not None and pair.difference.low is not None
    assert pair.simultaneous.low < pair.difference.low
    p = sorted(one.difference.p or 0 for one in family.pairs if one.split == "real/test")
    assert pair.claim.adjusted == pytest.approx(max(
        3 * p[0], (2 * (pair.difference.p or 0)) if pair.difference.p != p[0] else 0), rel=0.5)
    before, after = (analysis.cells[name, "real/test"].metrics["uar"].value
                     for name in ("base", "good"))
    assert f"raises real-mask UAR from {before:.2f} to {after:.2f} (+" in said.main
    assert "the difference between the sets" in said.main and "on synthetic masks" in said.main


def test_where_no_intervention_helps_the_first_sentence_says_so() -> None:
    tables = {(name, seed): {split: table(split, seed + 10 * place) for split in SETS}
              for place, name in enumerate(("base", "x", "y")) for seed in range(3)}
    plan = {"r": {"over": "recipe", "against": "base", "on": SETS}}
    _, _, said = analysed(tables, compare=plan)
    assert said.main.startswith("No intervention is shown to raise real-mask UAR; the best is ")


def test_a_baseline_that_no_run_has_is_said() -> None:
    tables = {(name, 0): {split: table(split, 0) for split in SETS} for name in ("x", "y")}
    plan = {"r": {"over": "recipe", "against": "base", "on": SETS}}
    made, analysis, _ = analysed(tables, compare=plan)
    (family,) = compare(made, analysis)
    assert family.notes == ("no run has recipe 'base', the baseline",)


def test_a_value_is_compared_on_average_over_the_settings_that_have_both() -> None:
    from fer.report.comparisons import groups_of

    runs = {name: ReportRun(name, name, name, backbone, recipe, "t", 0, Path("none"), "done")
            for name, backbone, recipe in (("1", "a", "x"), ("2", "a", "y"), ("3", "b", "x"))}
    configs = [Config(name, run.backbone, run.recipe, "t", (), (run,))
               for name, run in runs.items()]
    groups = groups_of(configs, "recipe")
    assert [sorted(group) for group in groups.values()] == [["x", "y"], ["x"]]


def test_sets_and_recipes_have_names_in_words_and_the_ids_do_not_know_them() -> None:
    from fer.config.blocks import block_label
    from fer.config.load import load_run
    from fer.config.run_id import scientific

    config = load_run("configs/drawn.yaml", {"recipe": "lp_ft"})
    assert config.data.sets["many"].label == "masks of nine styles"
    assert block_label("recipe", "lp_ft") == config.recipe.label != "lp_ft"
    assert block_label("recipe", "none of that name") is None
    assert "label" not in str(scientific(config)).replace("label_smoothing", "")


def test_the_first_sentence_and_the_first_figure_use_the_words() -> None:
    from fer.report.figures.forest import forest_figure, interventions

    tables = {(name, seed): {split: table(split, seed + 10 * place, (skill,) * 3, 400)
                             for split in SETS}
              for place, (name, skill) in enumerate((("base", 0.5), ("good", 0.8)))
              for seed in range(3)}
    plan = {"r": {"over": "recipe", "against": "base", "on": SETS}}
    made, analysis, _ = analysed(tables, compare=plan)
    analysis = replace(analysis, labels={("recipe", "good"): "many views",
                                         ("train_on", "t"): "one flat mask"})
    families = compare(made, analysis)
    said = summarise(analysis, families)
    assert said.main.startswith("The recipe many views (good) in place of base raises real-mask")
    assert "Models trained on one flat mask (t) reach" in said.others[0]
    figure = forest_figure(analysis, interventions(analysis, families), False)
    (name,) = figure.axes[0].get_yticklabels()
    assert name.get_text().startswith("many views (good) vs base")
    assert analysis.words("train_on", "t+u") == "one flat mask and u (t+u)"
