"""The page in a real browser: no errors, tables that sort and filter, themes, narrow and wide."""

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from simulated_study import Simulated, build, make_study, simulate, write_run
from test_attention import write_look

from fer.report.analysis import analyse
from fer.report.latex import latex
from fer.report.read.load_results import load_results
from fer.report.read.report_cache import ReportCache

pytest.importorskip("selenium", reason="needs selenium: pip install .[test]")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
DRIVER = shutil.which("chromedriver") or ""
browsing = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver: "
                              "apt-get install chromium chromium-driver")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Return a study whose report has everything that a page can have."""
    study = simulate(tmp_path_factory.mktemp("page"), 2)
    picture = study.root / "face.png"
    Image.fromarray(np.full((60, 60, 3), 120, np.uint8)).save(picture)
    write_look(study, 0)
    for run in study.runs:  # the last picture is wrong for all
        from test_report_findings import predictions_of

        table = predictions_of(run, "real/test")
        table.logits[-1] = -8 * np.eye(3)[table.labels[-1]]
        write_run(run, {"real/test": table})
    for number in (-1, -2):  # one configuration has no number on real masks
        study.file(number, "results", "real/test").unlink()
    build(study, figures=True, pictures=lambda name: picture,
          facts=lambda name: {"mask_type": "cloth" if name[-5] in "02468" else "paper"})
    return study


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser: WebDriver, report: Simulated, width: int = 1440,
           scheme: str = "light") -> WebDriver:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 800})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get((report.out / "index.html").as_uri())
    browser.execute_script("try { localStorage.clear() } catch {}")
    browser.refresh()
    return browser


@browsing
@pytest.mark.parametrize(("width", "scheme"), [
    (390, "light"), (1440, "dark"), pytest.param(390, "dark", marks=pytest.mark.slow),
    pytest.param(1440, "light", marks=pytest.mark.slow)])
def test_page_has_no_errors_no_lost_pictures_and_does_not_scroll_sideways(
    browser: WebDriver, report: Simulated, width: int, scheme: str
) -> None:
    page = opened(browser, report, width, scheme)
    page.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    pictures = page.find_elements(By.TAG_NAME, "img")
    assert len(pictures) > 20
    assert all(page.execute_script("return arguments[0].naturalWidth > 0", one)
               for one in pictures)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    light = luminance(page.find_element(By.TAG_NAME, "body").value_of_css_property(
        "background-color"))
    assert (light > 200) == (scheme == "light")
    shown = [one.is_displayed() for one in page.find_elements(By.CSS_SELECTOR, "figure .narrow")]
    assert shown and all(shown) == (width == 390) and any(shown) == (width == 390)


@browsing
def test_the_first_screen_has_the_answer_and_the_gap_figure(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report)  # 1440 x 900
    ends = page.execute_script(
        "return ['h1', 'figure .wide svg'].map((one) => "
        "document.querySelector(one).getBoundingClientRect().bottom)")
    assert 0 < ends[0] < ends[1] <= 900
    page = opened(browser, report, width=390)
    assert page.execute_script(
        "return document.querySelector('h1').getBoundingClientRect().bottom") < 844


@browsing
def test_the_page_is_three_screens_until_the_appendix_is_opened(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report, width=1300)
    height = "return document.documentElement.scrollHeight"
    folded = page.execute_script(height)
    assert folded < 3 * 900
    assert page.execute_script("return document.documentElement.scrollWidth") <= 1300
    page.find_element(By.CSS_SELECTOR, 'a[href="#problems"]').click()
    assert page.find_element(By.ID, "problems").is_displayed()
    assert page.execute_script(height) > 3 * folded


@browsing
def test_interventions_against_a_baseline_are_the_first_figure(
    browser: WebDriver, report: Simulated, tmp_path: Path
) -> None:
    plan = {"recipes": {"over": "recipe", "against": "scratch", "on": ["real/test"]}}
    out = report.out.parent / "against"
    said = build(report, study=make_study(compare=plan), out=out, figures=True).said
    page = opened(browser, replace(report, out=out))
    assert page.find_element(By.TAG_NAME, "h1").text == said.summary.main
    first = page.find_element(By.CSS_SELECTOR, "figure .wide svg")
    assert "Every intervention against its baseline" in (first.get_attribute("aria-label") or "")
    assert page.execute_script(
        "return document.querySelector('figure .wide svg').getBoundingClientRect().bottom") <= 900
    assert "vs scratch" in first.text and "change in the gap" in first.text


@pytest.mark.slow
@browsing
def test_a_long_name_in_the_comparisons_does_not_make_them_scroll_sideways(
    browser: WebDriver, report: Simulated
) -> None:
    plan = {"recipes": {"over": "recipe", "against": "scratch", "on": ["real/test"]}}
    runs = [replace(run, backbone=f"{run.backbone}_with_a_name_of_forty_letters")
            for run in report.runs]
    out = report.out.parent / "long"
    build(report, study=make_study(compare=plan), runs=runs, out=out)
    page = opened(browser, replace(report, out=out), 1300)
    page.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert "forty_letters" in page.find_element(By.ID, "comparisons").text
    wider = page.execute_script("return [...document.querySelectorAll('#comparisons .scroll')]"
                                ".map((one) => one.scrollWidth - one.clientWidth)")
    assert wider and max(wider) <= 0


def luminance(color: str) -> float:
    return float(np.mean([float(part) for part in color[color.index("(") + 1:-1].split(",")[:3]]))


@browsing
def test_the_theme_can_be_chosen_and_is_remembered(browser: WebDriver, report: Simulated) -> None:
    page = opened(browser, report)

    def light() -> bool:
        body = page.find_element(By.TAG_NAME, "body")
        return luminance(body.value_of_css_property("background-color")) > 200

    assert light()
    page.find_element(By.ID, "theme").click()
    assert not light()
    page.refresh()
    assert not light()
    page.find_element(By.ID, "theme").click()
    assert light()


@browsing
def test_a_page_that_was_made_dark_is_printed_on_white(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report)
    page.find_element(By.ID, "theme").click()
    body = page.find_element(By.TAG_NAME, "body")
    assert luminance(body.value_of_css_property("background-color")) < 60
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert luminance(body.value_of_css_property("background-color")) == 255
    assert luminance(body.value_of_css_property("color")) < 60
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def column(page: WebDriver, table: str, place: int) -> list[str]:
    return [row.find_elements(By.TAG_NAME, "td")[place].text for row in page.find_elements(
        By.CSS_SELECTOR, f"#{table} > tbody > tr:not(.detail)") if row.is_displayed()]


@browsing
def test_tables_sort_by_number_and_by_word_both_ways(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report)
    heads = page.find_elements(By.CSS_SELECTOR, "#table-results > thead th")
    place = next(at for at, head in enumerate(heads) if "real masks" in head.text)
    heads[place].find_element(By.TAG_NAME, "button").click()

    def values() -> list[float]:
        return [-1.0 if text == "–" else float(text.split()[0])
                for text in column(page, "table-results", place)]

    falling = values()
    assert falling == sorted(falling, reverse=True) and len(set(falling)) > 5
    assert falling[-1] == -1.0
    heads[place].find_element(By.TAG_NAME, "button").click()
    assert values() == sorted(falling)
    assert heads[place].get_attribute("aria-sort") == "ascending"
    heads[0].find_element(By.TAG_NAME, "button").click()
    names = column(page, "table-results", 0)
    assert names == sorted(names) and heads[place].get_attribute("aria-sort") is None


@browsing
def test_a_row_opens_to_its_details_which_stay_with_it(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report, width=1300)
    buttons = page.find_elements(By.CSS_SELECTOR, "#table-results button.open")
    assert len(buttons) == 8
    details = page.find_elements(By.CSS_SELECTOR, "#table-results tr.detail")
    assert not any(one.is_displayed() for one in details)
    buttons[1].click()
    assert [one.is_displayed() for one in details] == [False, True] + [False] * 6
    text = details[1].text
    for words in ("Recall per class", "UAR by mask type", "cloth", "wrong for all 2 seeds"):
        assert words in text
    assert details[1].find_elements(By.CSS_SELECTOR, "table.matrix, .gallery img")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 1300
    inside = page.execute_script(
        "return [...document.querySelectorAll('.opened > div')].filter((one) => "
        "one.scrollWidth > one.clientWidth + 1).length")
    assert inside == 0
    place = "return [...document.querySelectorAll('#table-results tbody > tr')].indexOf("
    page.find_elements(By.CSS_SELECTOR, "#table-results > thead th button")[0].click()  # sorts
    at = [page.execute_script(f"{place}arguments[0])", one) for one in (
        buttons[1].find_element(By.XPATH, "./ancestor::tr"), details[1])]
    assert at[1] == at[0] + 1
    box = page.find_element(By.CSS_SELECTOR, 'input[data-table="table-results"]')
    box.send_keys("no such row")
    assert not details[1].is_displayed()
    box.clear()
    box.send_keys(" ")
    assert details[1].is_displayed()
    buttons[1].click()
    assert not details[1].is_displayed()


@browsing
def test_a_filter_leaves_the_rows_that_have_all_its_words(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report)
    box = page.find_element(By.CSS_SELECTOR, 'input[data-table="table-results"]')
    before = len(column(page, "table-results", 0))
    box.send_keys("lp_ft cbam")
    rows = column(page, "table-results", 0)
    assert 0 < len(rows) < before and set(rows) == {"cbam_tiny"}
    assert f"{len(rows)} of {before}" in box.find_element(By.XPATH, "..").text
    box.clear()
    box.send_keys(" ")
    assert len(column(page, "table-results", 0)) == before


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX: apt-get install "
                    "texlive-latex-base texlive-latex-recommended")
def test_the_table_for_a_paper_compiles(report: Simulated, tmp_path: Path) -> None:
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        + (report.out / "tables.tex").read_text() + "\\end{document}\n")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 1000
    assert "Overfull" not in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX: apt-get install "
                    "texlive-latex-base texlive-latex-recommended")
def test_many_rows_and_names_with_signs_and_without_end_fit_on_pages_of_a_paper(
    report: Simulated, tmp_path: Path
) -> None:
    analysis = analyse(report.study, load_results(report.study, report.runs, ReportCache(tmp_path)))
    config = replace(analysis.configs[0], shared=frozenset(), axes=(
        ("train.mix", r"{how: 50%_of \alpha & ~^#$ <b> |x|}"), ("optim.schedule", "long-" * 30)))
    many = tuple(replace(config, config_id=f"{number}") for number in range(90))
    cells = {(one.config_id, split): analysis.cells[config.config_id, split]
             for one in many for split in analysis.splits}
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n"
        + latex("a_b", replace(analysis, configs=many, cells=cells)) + "\\end{document}\n")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
                          cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout and "too large" not in done.stdout
    pages = int(re.search(r"\((\d+) pages", done.stdout)[1])  # type: ignore[index]
    assert 10 < pages < 40  # a name takes eight lines


@pytest.mark.slow
@browsing
def test_on_paper_all_is_open_in_colour_and_no_wider_than_the_sheet(
    browser: WebDriver, report: Simulated
) -> None:
    page = opened(browser, report, width=688)  # an A4 sheet without its margins, at 96 dpi
    closed = "return document.querySelectorAll('details:not([open])').length"
    before = page.execute_script(closed)
    assert before > 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script(closed) == 0
    assert page.execute_script("return document.documentElement.scrollWidth") <= 688
    body = page.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("print-color-adjust") == "exact"
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(closed) == before
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    box = page.find_element(By.CSS_SELECTOR, 'input[data-table="table-results"]')
    page.execute_script("arguments[0].value = 'lp_ft cbam';"
                        "arguments[0].dispatchEvent(new Event('input'))", box)
    hidden = "return document.querySelectorAll('#table-results tr[hidden]').length"
    filtered = page.execute_script(hidden)
    assert filtered > 0
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script(hidden) == 0
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script(hidden) == filtered
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") > 4
    assert page.execute_script(closed) == before
