"""The page of a search: what it claims on surfaces that are known, and in a browser."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fer.config.search import Search
from fer.report.drawings import DRAWINGS
from fer.search.best import best_of
from fer.search.report.importance import importances, neighbours, saved
from fer.search.report.search_page import report_search
from fer.search.space import draw
from fer.search.trial_record import Entry, Record
from fer.search.trial_runs import label

pytest.importorskip("selenium", reason="needs selenium: pip install .[test]")
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from test_report_page import browser, browsing, opened  # noqa: F401 - a fixture

SLOW = pytest.mark.slow

SPACE = {"optim.lr": {"loguniform": [1e-4, 1e-1]}, "optim.weight_decay": {"loguniform": [1e-5, 1]},
         "train.augment": {"choice": ["none", "light", "strong"]},
         "optim.momentum": {"uniform": [0.5, 0.9], "when": {"train.augment": "light"}}}


def search(**more: object) -> Search:
    """Return a search over four keys."""
    return Search.model_validate({"search": "surface", "base": "configs/drawn.yaml", "space": SPACE,
                                  "budget": {"trials": 60}, **more})


def surface(one: Search, folder: Path, noise: float = 0.02, trials: int = 60) -> Record:
    """Return a record whose scores depend on the learning rate alone, best at 0.01."""
    record, rng = Record(folder), np.random.default_rng(0)
    for number in range(trials):
        params = draw(one, number)
        top = 0.8 - 0.15 * abs(np.log10(params["optim.lr"]) + 2) + rng.normal(0, noise)
        epochs = 9 if number % 3 else 3
        curve = [float(top * (1 - 0.5 ** epoch)) for epoch in range(1, epochs + 1)]
        record.put(Entry(number, params, f"run-{number}", f"{number:010}", "c",
                         state="done" if epochs == 9 else "stopped", score=curve[-1], curve=curve,
                         epochs=9), publish=False)
    record.publish()
    return record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = surface(search(), tmp_path)
    assert list(Record(tmp_path)) == list(record) and len(record) == 60


def test_the_key_that_decides_is_the_important_one(tmp_path: Path) -> None:
    found = importances(search(), list(surface(search(), tmp_path)))
    assert found is not None and found.keys[0].key == "optim.lr" and found.r2 > 0.3
    assert found.keys[0].mean > 5 * found.keys[1].mean


@pytest.mark.slow
def test_of_scores_by_chance_no_importance_is_drawn(tmp_path: Path) -> None:
    record, rng = surface(search(), tmp_path), np.random.default_rng(1)
    for entry in list(record):
        record.change(entry.key, score=float(rng.random()))
    report_search(tmp_path, search(), record, drawn="")
    page = (tmp_path / "report/index.html").read_text()
    assert "the importances are meaningless" in page
    assert not (tmp_path / "report/figures/importance.svg").exists()


def test_few_trials_say_nothing_of_importance(tmp_path: Path) -> None:
    assert importances(search(), list(surface(search(), tmp_path, trials=9))) is None


def test_neighbours_are_near_in_the_space_and_another_choice_is_far(tmp_path: Path) -> None:
    one = search()
    record = surface(one, tmp_path)
    best = max(record, key=lambda entry: entry.score or 0)
    found = neighbours(one, list(record), best)
    assert [far for _, far in found] == sorted(far for _, far in found) and len(found) == 5
    assert best.key not in {entry.key for entry, _ in found}
    for entry, far in found:
        if entry.params["train.augment"] != best.params["train.augment"]:
            assert far >= 1


def test_what_stopping_saved_is_counted(tmp_path: Path) -> None:
    found = saved(list(surface(search(), tmp_path)))
    assert (found.stopped, found.trained, found.whole) == (20, 20 * 3 + 40 * 9, 60 * 9)


def test_the_mean_over_seeds_decides_and_not_the_luckiest_trial(tmp_path: Path) -> None:
    one = search(finalists={"best": 2, "seeds": [0, 1]})
    record = surface(one, tmp_path)
    first, second = sorted(record, key=lambda entry: -(entry.score or 0))[:2]
    for entry, scores in ((first, (0.9, 0.1)), (second, (0.7, 0.6))):
        for seed, score in enumerate(scores):
            record.put(Entry(entry.number, entry.params, f"r{seed}", seed=seed, state="done",
                             score=score), publish=False)
    best = best_of(record, one)
    assert best is not None and best.trial == second.number and best.score == pytest.approx(0.65)
    record.put(Entry(second.number, second.params, "r7", seed=7, state="done", score=0.9))
    assert best_of(record, one) == best  # of a seed that is not asked for any more
    record.change((second.number, 1), state="failed")
    best = best_of(record, one)  # of the second a seed is missing, so it is not compared
    assert best is not None and best.trial == first.number


@pytest.mark.slow
def test_the_table_has_a_row_a_trial(tmp_path: Path) -> None:
    record = surface(search(), tmp_path)
    report_search(tmp_path, search(), record, drawn="")
    frame = pd.read_csv(tmp_path / "report/trials.csv")
    assert len(frame) == 60 and set(SPACE) <= set(frame)
    assert frame["macro_f1"].tolist() == pytest.approx([entry.score for entry in record])


def test_a_search_without_a_score_has_a_page_too(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.put(Entry(0, {"optim.lr": 0.1}, state="failed", error="it <broke>"))
    page = report_search(tmp_path, search(), record, drawn="").read_text()
    assert "No trial of surface has a score yet" in page and "it &lt;broke&gt;" in page


@browsing
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), *(
    pytest.param(*one, marks=SLOW) for one in [(390, "dark"), (1440, "light"), (1440, "dark")])])
def test_the_page_opens_without_errors_and_does_not_scroll_sideways(
    browser: WebDriver, tmp_path: Path, width: int, scheme: str  # noqa: F811
) -> None:
    one = search()
    report_search(tmp_path, one, surface(one, tmp_path), drawn=DRAWINGS)
    page = opened(browser, SimpleNamespace(out=tmp_path / "report"), width, scheme)  # type: ignore[arg-type]
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    assert len([one for one in page.find_elements(By.TAG_NAME, "svg") if one.is_displayed()]) == 3
    assert "no number on this page is evidence about people" in page.page_source
    rows = page.find_elements(By.CSS_SELECTOR, "#table-trials tbody tr")
    assert len(rows) == 60
    button = page.find_elements(By.CSS_SELECTOR, "#table-trials th button")[4]
    page.execute_script("arguments[0].click()", button)
    scores = [float(row.find_elements(By.TAG_NAME, "td")[4].get_attribute("textContent"))
              for row in page.find_elements(By.CSS_SELECTOR, "#table-trials tbody tr")]
    assert scores == sorted(scores, reverse=True)


def test_a_configuration_is_named_in_one_short_line() -> None:
    assert label({"optim.lr": 0.00123456, "recipe": {"name": "lp_ft"}, "a": None}) == (
        "optim.lr=0.00123, recipe=lp_ft, a=None")
