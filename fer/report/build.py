"""Build a study's report from what is on disk: the one entry for everybody else.

Reads run folders, writes `studies/<study>/report/`. It can be called at any time, while runs
are going on and by two processes at once: files are replaced whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer.config.study import Study
from fer.publish import write_text
from fer.report.analyse import Analysis, analyse
from fer.report.collect import ReportRun, gather
from fer.report.compare import compare
from fer.report.contents import Contents, contents
from fer.report.curves import Curve, read_curve
from fer.report.gallery import Pictures
from fer.report.markdown import markdown
from fer.report.page import page
from fer.report.tables import write_tables


@dataclass(frozen=True)
class ReportSummary:
    """What was built: where, and what it says (for the terminal)."""

    folder: Path
    said: Contents

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "index.html"


def build_report(study: Study, runs: Sequence[ReportRun], out: Path, pictures: Pictures,
                 drawn: bool = False, warnings: Sequence[str] = ()) -> ReportSummary:
    """Write the report of `study` into `out` and return what it says.

    Args:
        runs: the runs of the study, in any order and any state.
        out: the report folder; made where it is missing.
        pictures: sample id -> the picture's file, or None where it is not here.
        drawn: the pictures are drawings, not people: every page says so.
        warnings: lines on the data that stand before what is found in the runs.
    """
    gathered = gather(study, runs)
    gathered = replace(gathered, problems=(*warnings, *gathered.problems))
    analysis = analyse(study, gathered)
    curves = [curve for run in gathered.runs if (curve := read_curve(run)) is not None]
    said = contents(study, gathered, analysis, compare(study, analysis), len(curves), pictures,
                    out, drawn)
    write_tables(study.study, gathered, analysis, out)
    drawings = _figures(curves, analysis, out / "figures")
    write_text(out / "report.md", markdown(said, [*drawings, *_files(analysis)]))
    write_text(out / "index.html", page(said, drawings))
    return ReportSummary(out, said)


def _files(analysis: Analysis) -> list[str]:
    """Return the figures that are files only: the page has them as tables."""
    return ["confusion"] if analysis.cells else []


def _figures(curves: Sequence[Curve], analysis: Analysis,
             folder: Path) -> dict[str, tuple[str, str]]:
    """Write the figures; return those of the page as inline SVG, wide and narrow."""
    from fer.report import figures  # matplotlib: only for those who draw
    from fer.report.drawing import inline, save, svg

    plans: dict[str, tuple[str, Callable]] = {}
    if analysis.cells:
        plans["gap"] = ("UAR and gap of each configuration, with intervals",
                        lambda narrow: figures.gap_figure(analysis, narrow))
        plans["recall"] = ("Recall per class of each configuration, with intervals",
                           lambda narrow: figures.recall_figure(analysis, narrow))
        save(figures.confusion_figure(analysis), folder, "confusion")
    if curves:
        plans["curves"] = ("Validation UAR by epoch",
                           lambda narrow: figures.curves_figure(curves, analysis.configs, narrow))
    drawings = {}
    for name, (title, draw) in plans.items():
        drawings[name] = (inline(save(draw(False), folder, name), title),
                          inline(svg(draw(True), f"{name}-narrow"), title))
    return drawings
