"""The report of a simulated study: what it promises, and what it says when something is wrong."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from PIL import Image
from rich.console import Console
from simulated_study import SMALL, Simulated, build, predictions, rows, simulate, write_run

from fer.data.synthetic.sampling import is_generated, person_name
from fer.evaluate.intervals import Interval
from fer.evaluate.predictions import predictions_path, read_predictions, write_predictions
from fer.report.drawings import DRAWINGS
from fer.report.gap_sentences import gap_words
from fer.report.summary import UNLIKE
from fer.report.terminal import print_summary
from fer.untrusted_io import read_json

COLUMNS = ("study,run,run_id,config_id,backbone,recipe,train_on,test_on,seed,n,"
           "accuracy,macro_f1,uar,nll,ece")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Return a study with its report built by a process; tests only read it."""
    study = simulate(tmp_path_factory.mktemp("finished"))
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path;"
         "from simulated_study import build, simulate;"
         "build(simulate(Path(sys.argv[1])), figures=True); print('torch' in sys.modules)",
         str(study.root)], stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    (study.root / "imported torch").write_text(said.stdout)
    return study


@pytest.fixture()
def small(tmp_path: Path) -> Simulated:
    """Return a study that a test may damage: one seed, two small sets."""
    return simulate(tmp_path, 1, sizes=SMALL)


def test_every_file_of_the_contract_is_there(finished: Simulated) -> None:
    names = ["index.html", "report.md", "results.csv", "recall.csv", "summary.csv", "gap.csv",
             "tables.tex", *(f"figures/{name}.{kind}" for kind in ("png", "svg")
                             for name in ("gap", "recall", "confusion", "curves"))]
    assert [name for name in names if not (finished.out / name).stat().st_size] == []


def test_results_have_one_row_per_run_and_test_set(finished: Simulated) -> None:
    assert (finished.out / "results.csv").read_text().splitlines()[0] == COLUMNS
    found = rows(finished.out / "results.csv")
    assert len(found) == 16 * 3
    assert len({(row["run"], row["test_on"]) for row in found}) == len(found)
    run = finished.runs[3]
    row = next(r for r in found if r["run"] == run.run and r["test_on"] == "real/test")
    assert float(row["uar"]) == pytest.approx(
        read_json(finished.file(3, "results", "real/test"))["uar"], abs=1e-6)


def test_csv_files_are_the_same_bytes_whatever_the_order_of_runs(
    finished: Simulated, tmp_path: Path
) -> None:
    names = ["results.csv", "recall.csv", "summary.csv", "gap.csv", "report.md", "tables.tex"]
    build(finished, out=tmp_path / "one")
    build(finished, runs=finished.runs[::-1], out=tmp_path / "other")
    assert [(tmp_path / "one" / name).read_bytes() for name in names] == [
        (tmp_path / "other" / name).read_bytes() for name in names]


def test_summary_mean_is_that_of_the_seeds(finished: Simulated) -> None:
    single, pooled = rows(finished.out / "results.csv"), rows(finished.out / "summary.csv")
    assert len(pooled) == 8 * 3
    for row in pooled:
        values = [float(r["uar"]) for r in single
                  if (r["config_id"], r["test_on"]) == (row["config_id"], row["test_on"])]
        assert float(row["uar"]) == pytest.approx(np.mean(values), abs=2e-6)
        assert float(row["uar_low"]) < float(row["uar"]) < float(row["uar_high"])
        assert (row["seeds"], row["interval"]) == ("2", "seeds and test sampling")


def test_gap_is_synthetic_minus_real(finished: Simulated) -> None:
    pooled = {(r["config_id"], r["test_on"]): float(r["uar"])
              for r in rows(finished.out / "summary.csv")}
    gaps = [row for row in rows(finished.out / "gap.csv") if row["metric"] == "uar"]
    assert len(gaps) == 8
    for row in gaps:
        apart = pooled[row["config_id"], "mlfw/eval"] - pooled[row["config_id"], "real/test"]
        assert float(row["gap"]) == pytest.approx(apart, abs=2e-6)
        assert (row["n_synthetic"], row["n_real"]) == ("300", "135")


def test_first_sentence_is_made_from_the_numbers(finished: Simulated, tmp_path: Path) -> None:
    said = build(finished, out=tmp_path).said.summary
    mean = np.mean([float(row["uar"]) for row in rows(finished.out / "summary.csv")
                    if row["train_on"] == "mlfw" and row["test_on"] == "real/test"])
    assert said.main.startswith("Models trained on mlfw reach an unweighted average recall (UAR) ")
    assert f"{mean:.2f} [" in said.main
    assert "on real masks: a difference between the sets of " in said.main
    assert "300 and 135 pictures" in said.sizes and "2 seeds" in said.sizes
    assert any("pooled over the configurations (8 degrees of freedom)" in line
               for line in said.caveats)
    assert any("people and cameras" in line for line in said.caveats)


def test_training_sets_are_compared_over_what_all_of_them_have(tmp_path: Path) -> None:
    whole = simulate(tmp_path)
    best = replace(whole, runs=[run for run in whole.runs if run.recipe == "lp_ft"])
    expected = build(best, out=tmp_path / "best").said.summary
    uneven = [run for run in whole.runs if (run.recipe, run.train_on) != ("scratch", "lfw")]
    said = build(replace(whole, runs=uneven)).said.summary
    assert said.main == expected.main and said.others[0] == expected.others[0]
    assert "mean of 2 configurations, those that all training sets share" in said.sizes
    assert "that all training sets share" not in expected.sizes


@pytest.mark.slow
def test_training_sets_with_nothing_in_common_are_called_so(tmp_path: Path) -> None:
    whole = simulate(tmp_path)
    pairs = {("scratch", "mlfw"), ("lp_ft", "lfw")}
    apart = [run for run in whole.runs if (run.recipe, run.train_on) in pairs]
    assert UNLIKE in build(replace(whole, runs=apart)).said.summary.caveats
    assert UNLIKE not in build(whole).said.summary.caveats


def test_page_loads_nothing_from_outside(finished: Simulated) -> None:
    text = (finished.out / "index.html").read_text()
    assert re.findall(r"""(?:src|href|action|data)\s*=\s*["'](?:https?:)?//[^"']*""", text) == []
    assert re.findall(r"url\(\s*['\"]?(?:https?:)?//", text) == []
    assert "<script src" not in text and "@import" not in text and "<link rel=\"style" not in text


def test_page_has_no_id_twice_outside_of_definitions(finished: Simulated) -> None:
    text = re.sub(r"<defs>.*?</defs>", "", (finished.out / "index.html").read_text(), flags=re.S)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_figures_are_the_same_bytes_each_time(finished: Simulated, tmp_path: Path) -> None:
    build(finished, out=tmp_path, figures=True)
    files = sorted((finished.out / "figures").iterdir())
    assert files and all(path.read_bytes() == (tmp_path / "figures" / path.name).read_bytes()
                         for path in files)


@pytest.mark.slow
def test_every_figure_says_how_many_pictures_it_is_of(tmp_path: Path) -> None:
    study = simulate(tmp_path)
    for run in study.runs:
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"),
                          predictions("mlfw/eval", 1.0, [1], {"mlfw/eval": ("v", 90)}))
    build(study, figures=True)
    figures = {path.stem: path.read_text() for path in (study.out / "figures").glob("*.svg")}
    assert len(figures) == 5
    for name, text in figures.items():  # Matplotlib notes beside each text what it says
        wanted = {"curves": {90}}.get(name, {300, 135})
        assert {int(n) for n in re.findall(r"n = ([0-9]+)", text)} == wanted, name


def _named(study: Simulated, names: dict[str, Callable[[int], str]]) -> None:
    """Give the pictures of some test sets names."""
    for run in study.runs:
        for split, name in names.items():
            table = read_predictions(predictions_path(run.folder, split))
            ids = [f"{split}/neutral/{name(i)}_{i:04d}.jpg" for i in range(len(table))]
            write_run(run, {split: replace(table, sample_ids=ids)})


def test_drawings_are_called_drawings_by_the_pictures_that_were_used(small: Simulated) -> None:
    """Not by the configuration, which a copy of demo.yaml for photographs has too."""
    build(small)
    assert "drawings" not in (small.out / "index.html").read_text()
    drawn, photo = partial(person_name, "real_test"), "Ada_Lovelace{}".format
    _named(small, {"real/test": drawn, "mlfw/eval": photo})
    build(small)
    for name in ("index.html", "report.md", "tables.tex"):
        text = (small.out / name).read_text()
        assert "The images of real/test are computer-generated drawings" in text, name
        assert DRAWINGS not in text
    _named(small, {"mlfw/eval": lambda i: drawn(i) + "_masked"})
    build(small)
    assert "drawings" in (small.out / "index.html").read_text()  # other words after the name
    _named(small, {"mlfw/eval": drawn})
    build(small)
    for name in ("index.html", "report.md", "tables.tex"):
        assert DRAWINGS in (small.out / name).read_text(), name


def test_models_that_were_trained_on_drawings_are_said_where_they_meet_photographs(
    small: Simulated
) -> None:
    for run in small.runs:
        table = predictions("mlfw/eval", 1.0, [1], {"mlfw/eval": ("v", 30)})
        ids = [f"v/train/neutral/{person_name('lfw_train', i)}_0001.jpg" for i in range(30)]
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"),
                          replace(table, sample_ids=ids))
    view = build(small).said
    assert not view.drawn
    assert "lfw, mlfw: models were trained on computer-generated drawings, not on people" in (
        view.problems)


def test_generated_names_are_told_from_others() -> None:
    made = [person_name(name, number) for name in ("lfw_train", "people_train")
            for number in range(0, 20_000, 97)]
    assert all(map(is_generated, made))
    swapped = [f"Ada_{name.split('_')[1]}" for name in made if not name.startswith("Ada_")]
    assert sum(map(is_generated, swapped)) <= 0.05 * len(swapped)
    assert not any(map(is_generated, ["Ada_Lovelace", "George_W_Bush", "Ada", "", "ada_bababar"]))


def test_equal_configurations_are_tied(tmp_path: Path) -> None:
    study = simulate(tmp_path, 2, equal=True)
    said = build(study).said
    pairs = [pair for family in said.families for pair in family.pairs]
    assert len(pairs) == 8 and {pair.verdict for pair in pairs} == {"tied"}
    assert any("All 8 planned comparisons are tied" in x for x in said.summary.others)


def test_a_clearly_better_recipe_is_ranked_with_its_interval(tmp_path: Path) -> None:
    study = simulate(tmp_path, 2)
    for run in study.runs:
        skill = 3.5 if run.recipe == "lp_ft" else 0.8
        write_run(run, {split: predictions(split, skill, [run.seed, len(run.run), len(split)])
                        for split in ("mlfw/eval", "real/test")})
    pairs = [pair for family in build(study).said.families for pair in family.pairs]
    assert {pair.winner for pair in pairs} == {"lp_ft"}
    assert all(pair.claim.adjusted is not None and pair.claim.adjusted < 0.05 for pair in pairs)


def test_with_one_seed_intervals_are_of_these_models_and_it_is_said(small: Simulated) -> None:
    said = build(small).said
    assert {row["interval"] for row in rows(small.out / "summary.csv")} == {"test sampling"}
    assert any("these trained models only" in line for line in said.summary.caveats)


def test_other_grid_keys_keep_their_own_rows(small: Simulated) -> None:
    runs = [replace(run, axes={"optim.lr": "0.1" if run.recipe == "lp_ft" else "0.01"})
            for run in small.runs]
    said = build(small, runs=runs).said
    assert {row.config.label for row in said.rows} >= {"cbam_tiny · lp_ft · mlfw · lr=0.1"}
    assert said.families[0].notes == ("no two configurations differ in recipe only",)


def test_pictures_that_all_models_get_wrong_are_embedded(small: Simulated, tmp_path: Path) -> None:
    picture = tmp_path / "face.png"
    Image.new("RGB", (250, 250), "red").save(picture)
    tables = [predictions("real/test", 1.0, [1], {"real/test": ("b", 60)}) for _ in small.runs]
    for run, table in zip(small.runs, tables, strict=True):
        write_run(run, {"real/test": table})
    wrong = [name for name, right in zip(tables[0].sample_ids,
                                         tables[0].predicted == tables[0].labels, strict=True)
             if not right]
    assert len(wrong) > 2
    found = build(small, pictures=lambda name: None if name == wrong[0] else picture).said.wrong
    assert found is not None
    assert {one.sample_id for one, _ in found.shown} <= set(wrong)
    assert (found.total, found.of, found.models) == (len(wrong), 60, 8)
    assert wrong[0] not in {one.sample_id for one, _ in found.shown}
    assert "data:image/jpeg;base64," in (small.out / "index.html").read_text()


@pytest.mark.parametrize("width", [80, 120])
def test_terminal_table_fits(finished: Simulated, width: int, tmp_path: Path) -> None:
    with open(tmp_path / "out.txt", "w", encoding="utf-8") as stream:
        print_summary(build(finished, out=tmp_path / "report"), Console(file=stream, width=width))
    text = (tmp_path / "out.txt").read_text("utf-8")
    assert max(map(len, text.splitlines()[:-1])) <= width
    assert "real/test" in text and "n = 135" in text and "report:" in text and "…" not in text


def test_importing_the_report_imports_neither_torch_nor_drawing() -> None:
    code = ("import sys, fer.report.build_report, fer.report.terminal;"
            "print([m for m in ('torch', 'matplotlib', 'pandas', 'sklearn', 'statsmodels', "
            "'jinja2', 'fer.train') if m in sys.modules])")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stdout.strip()) == (0, "[]")


def test_building_a_report_does_not_import_torch(finished: Simulated) -> None:
    assert (finished.root / "imported torch").read_text() == "False\n"


def test_a_gap_that_rounds_to_nothing_has_no_sign() -> None:
    said = gap_words(Interval(-0.003, -0.04, 0.034, "test sampling", 2, (800, 360), (319, 146)),
                     "gap")
    assert said == "a gap of 0 points [−4, 3], not distinguishable from zero"


def test_a_report_says_where_people_are_unknown_and_uses_no_stored_guess(
    small: Simulated
) -> None:
    for number, run in enumerate(small.runs):  # nobody is known in lfw/val either
        table = predictions("real/test", 1.0, [number], SMALL)
        write_predictions(predictions_path(run.folder, f"{run.train_on}/val"),
                          replace(table, identities=[""] * len(table)))
    build(small, unknown_people={"real/test"})  # the runs' files have names of people
    text = (small.out / "report.md").read_text()
    assert "real/test: who is in the pictures is unknown: each picture counts as a person" in text
    assert "intervals are too narrow where people repeat" in text
    assert "lfw/val: who is in the pictures is unknown: one person may be in both train" in text
    assert "mlfw/eval: who is in" not in text
    counts = {row["test_on"]: (row["n"], row["people"]) for row in rows(
        small.out / "summary.csv")}
    assert counts == {"mlfw/eval": ("80", "40"), "real/test": ("60", "")}
    page = (small.out / "index.html").read_text()
    assert "of 40 and unknown people" in page and "60 people" not in page
