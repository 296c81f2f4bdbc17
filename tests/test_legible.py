"""Names of classes in any script: letters that a font has, else a number with its key; no boxes."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_study import SMALL, build, make_study, simulate, write_run

from fer import legible
from fer.evaluate.predictions import predictions_path, read_predictions
from fer.legible import pen_font
from fer.report.figures.canvas import blank, save

JAPANESE = ("怒り", "中立", "喜び")


def drawn(text: str, folder: Path) -> tuple[str, legible.Key]:
    figure, key = blank(3, 1), legible.Key()
    figure.text(0.1, 0.5, text)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")  # a letter that becomes a box
        return save(figure, folder, "x", key), key


@pytest.mark.parametrize(("text", "shown", "words"), [
    ("recall of 怒り, n = 5", "recall of [1], n = 5", {"怒り": "[1]"}),
    ("怒り · 喜び · 怒り", "[1] · [2] · [1]", {"怒り": "[1]", "喜び": "[2]"}),
    ("분노 (many)", "[1] (many)", {"분노": "[1]"}), ("🥸", "[1]", {"🥸": "[1]"}),
    ("Wut, colère, гнев, θυμός − …", "Wut, colère, гнев, θυμός − …", {})])
def test_words_that_no_font_has_are_numbers_with_a_key(
    text: str, shown: str, words: legible.Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legible, "font_with", lambda letters: "")
    svg, key = drawn(text, tmp_path)
    assert key == words and f">{shown}</text>" in svg


def test_an_installed_font_that_has_the_letters_is_taken(tmp_path: Path) -> None:
    circled = "\u24b6\u24b7"  # a font that comes with Matplotlib has them
    assert legible.font_with(frozenset(circled)) not in ("", legible.BASE)
    svg, key = drawn(circled, tmp_path)
    assert circled in svg and not key


def test_every_figure_of_a_report_with_japanese_classes_has_letters_or_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(legible, "font_with", lambda letters: "")
    study = simulate(tmp_path, 1, sizes=SMALL)
    for run in study.runs:
        write_run(run, {split: replace(read_predictions(predictions_path(run.folder, split)),
                                       classes=JAPANESE) for split in SMALL})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph")
        build(study, runs=study.runs[:2], figures=True,
              study=make_study(evaluate_on=list(SMALL), compare={}))
    page, text = ((study.out / name).read_text() for name in ("index.html", "report.md"))
    for word in JAPANESE:
        assert f"] {word}" in page and f"] {word}" in text
    for figure in (study.out / "figures").glob("*.svg"):
        assert not any(word in figure.read_text() for word in JAPANESE), figure


def test_pillow_writes_no_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pen_font("colère", 11)[0] == "colère"
    text, font = pen_font("гнев", 11)
    assert text == "гнев" and "DejaVu" in font.getname()[0]
    circled = "\u24b6 (x)"
    text, font = pen_font(circled, 11)
    assert text == circled and "DejaVu" not in font.getname()[0]
    monkeypatch.setattr(legible, "font_with", lambda letters: "")
    text, _ = pen_font(circled, 11)
    assert text == "\\u24b6 (x)"
