"""Reports of one seed, many interventions or several real sets: true, whole, not too tall."""

from collections.abc import Iterator
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from simulated_study import SKILL, build, make_study, simulate
from test_report_words import SETS, analysed, table

from fer.report.analysis import Analysis
from fer.report.build_report import About
from fer.report.comparisons import Family, Pair, compare
from fer.report.figures.canvas import blank, say_left_out
from fer.report.figures.forest import (
    MANY,
    MOST_NARROW,
    MOST_SHOWN,
    forest_figure,
    interventions,
)
from fer.report.figures.learning_curves import curves_figure
from fer.report.multi_study import merge_about
from fer.report.overall import overall_findings
from fer.report.read.run_files import Curve
from fer.report.summary import summarise
from fer.report.terminal import print_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AGAINST = {"r": {"over": "recipe", "against": "base", "on": SETS}}
SCREEN, PIXELS_AN_INCH = 900, 108  # of a figure of ten inches on a page of 1,200 pixels


def test_the_first_sentence_on_single_seeds_has_effect_size_certainty_and_cost() -> None:
    tables = {(name, 0): {split: table(split, place, (skill,) * 3, 400) for split in SETS}
              for place, (name, skill) in enumerate((("base", 0.5), ("many", 0.8)))}
    _, _, said = analysed(tables, compare=AGAINST)
    assert said.main.startswith("The models with the recipe many in place of base reach a "
                                "real-mask UAR of 0.8")
    assert " against 0.5" in said.main and "raises" not in said.main
    assert "the difference between the sets " in said.main
    assert "it gains on synthetic masks too (+" in said.main
    assert said.main.endswith("; these trained models only; other seeds may differ.")
    assert any(line.startswith("Of 2 planned comparisons, none is statistically significant, "
                               "0 are tied, 2 are significant for") for line in said.others)


def test_the_first_sentence_on_interventions_says_who_is_at_chance() -> None:
    def said(good: float) -> str:
        tables = {(name, seed): {split: table(split, seed + 10 * place, (skill,) * 3, 400,
                                              permuted=skill == 0)
                                 for split in SETS}
                  for place, (name, skill) in enumerate((("base", 0.0), ("good", good)))
                  for seed in range(3)}
        return analysed(tables, compare=AGAINST)[2].main

    found = said(0.8)
    assert "raises real-mask UAR from 0.3" in found and found.count("(at chance, 0.33) to 0.8") == 1
    assert "the difference between the sets stays at 0 points" in found  # drawn alike
    nothing = said(0.0)
    assert nothing.startswith("No intervention is shown")
    assert nothing.count("(at chance, 0.33)") == 1


@pytest.mark.parametrize(("names", "words"), [
    (("a", "b"), "than the other."), (("a", "b", "c"), "than both others."),
    (("a", "b", "c", "d"), "than all 3 others.")])
def test_the_one_best_configuration_is_better_than_so_many(
    names: tuple[str, ...], words: str
) -> None:
    tables = {(name, seed): {split: table(split, seed + 10 * place,
                                          (0.95 if name == "a" else 0.4,) * 3, 600)
                             for split in SETS}
              for place, name in enumerate(names) for seed in range(3)}
    _, analysis, _ = analysed(tables)
    (line,) = [line for line in summarise(analysis, (), overall_findings(analysis)).others
               if "one configuration is better" in line]
    assert line.endswith(words)


@pytest.fixture(scope="module")
def hundred() -> tuple[Analysis, list[tuple[Family, Pair]]]:
    """Return a study of a hundred interventions, and its planned comparisons on two real sets."""
    sets = [*SETS, "other/test"]
    tables = {(f"a_recipe_with_a_rather_long_name_{place:03d}" if place else "base", 0):
              {split: table(split, place, n=60) for split in sets} for place in range(101)}
    made, analysis, _ = analysed(
        tables, compare={"r": AGAINST["r"] | {"on": sets}}, evaluate_on=sets,
        gap={"synthetic": SETS[0], "real": sets[1:]})
    return analysis, interventions(analysis, compare(made, analysis))


def boxes(figure: "Figure") -> Iterator[tuple[float, float]]:
    """Yield left and right end of every text of a drawn figure but numbers, in its widths."""
    from matplotlib.text import Text

    figure.draw_without_rendering()
    for one in figure.findobj(Text):
        if one.get_visible() and any(letter.isalpha() for letter in one.get_text()):
            box = one.get_window_extent()
            yield box.x0 / figure.bbox.x1, box.x1 / figure.bbox.x1


@pytest.mark.parametrize(("narrow", "most"), [(False, MOST_SHOWN), (True, MOST_NARROW)])
def test_a_hundred_interventions_are_no_taller_than_a_screen_and_no_label_is_cut(
    hundred: tuple[Analysis, list[tuple[Family, Pair]]], narrow: bool, most: int
) -> None:
    analysis, found = hundred
    figure = forest_figure(analysis, found, narrow)
    assert all(left >= 0 and right <= 1 for left, right in boxes(figure))
    assert figure.get_figheight() * PIXELS_AN_INCH <= (2 if narrow else 1) * SCREEN
    note = figure.get_supxlabel().replace("\n", " ")
    assert note == (f"the best {most} of 200 by the change in UAR ({most // 2} on each set); all "
                    "are in comparisons.csv")
    if not narrow:
        names = [one.get_text() for one in figure.axes[0].get_yticklabels()]
        assert len(names) == len(set(names)) == most and not any("\n" in name for name in names)
        assert sum(name.endswith("on other/test") for name in names) == most // 2


def test_a_few_interventions_are_all_shown_with_their_settings(
    hundred: tuple[Analysis, list[tuple[Family, Pair]]]
) -> None:
    analysis, found = hundred
    figure = forest_figure(analysis, found[:MANY], False)
    names = [one.get_text() for one in figure.axes[0].get_yticklabels()]
    assert len(names) == MANY and figure.get_supxlabel() == ""
    assert all(name.endswith(found[0][1].among) for name in names)


@pytest.mark.parametrize("wide", [4.3, 10.0])
def test_a_note_below_a_figure_is_not_cut(wide: float) -> None:
    figure = blank(wide, 3)
    say_left_out(figure, "the 40 of 12,000 configurations with the highest UAR on real/test; all "
                         "are in summary.csv")
    assert all(left >= 0 and right <= 1 for left, right in boxes(figure))


@pytest.mark.parametrize("narrow", [False, True])
def test_the_legend_of_a_single_panel_of_learning_curves_is_not_cut(narrow: bool) -> None:
    _, analysis, _ = analysed({("a", 0): {split: table(split, 0) for split in SETS}})
    (config,) = analysis.configs
    names = ["lfw", "mlfw", "masks_of_nine_styles"]
    curves = [Curve(replace(config.runs[0], train_on=name), (0, 1), (0.4, 0.5), ("all", "all"))
              for name in names]
    figure = curves_figure(curves, [replace(config, train_on=name) for name in names],
                           dict.fromkeys(names, 1200), narrow)
    assert all(left >= 0 and right <= 1 for left, right in boxes(figure))


def test_a_narrow_terminal_keeps_both_sides_of_the_gap_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"lfw/eval": ("a", 60), "mlfw/eval": ("a", 60), "real/test": ("b", 60),
             "hospital/test": ("c", 60), "metro/test": ("d", 60)}
    for split in sizes:
        monkeypatch.setitem(SKILL, split, 1.5)
    gap = {"synthetic": "mlfw/eval", "real": ["real/test", "hospital/test", "metro/test"]}
    study = make_study(evaluate_on=list(sizes), gap=gap)
    console = Console(width=80, file=StringIO(), record=True)
    print_summary(build(simulate(tmp_path, 1, sizes=sizes), study=study), console)
    text = console.export_text()
    head = next(line for line in text.splitlines() if "mlfw/eval" in line)
    assert "real/test" in head and "gap" in head and "metro/test" not in head
    assert "no room for lfw/eval, hospital/test, metro/test; summary.csv has all" in " ".join(
        text.split())


def test_a_report_on_several_studies_knows_all_that_each_of_them_knows() -> None:
    one = About(lambda _: Path("a.png"), lambda name: {"pose": name}, ["run"],
                ["people of real/test are in training"], {("recipe", "x"): "in words"},
                {"real/test"}, {"real/test": "faces fill 58% of the side"})
    nothing = About(lambda _: None)
    for known in ([one, nothing], [nothing, one]):
        both = merge_about(known, ["the studies define different gaps"])
        assert both.pictures("a") == Path("a.png") and both.facts("left") == {"pose": "left"}
        assert both.warnings == [*one.warnings, "the studies define different gaps"]
        for name in (item.name for item in fields(About)):
            if name not in ("pictures", "facts", "warnings"):
                assert getattr(both, name) == getattr(one, name), name
