"""The entry point that builds a study's report from disk.

Reads run folders and writes `studies/<study>/report/`. Files are replaced atomically, so a report
can be built while runs are active and by two processes at once.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fer.atomic_io import write_text
from fer.config.study import Study
from fer.report.analysis import analyse
from fer.report.comparisons import compare
from fer.report.csv_tables import write_tables
from fer.report.drawings import drawings_of
from fer.report.ensemble_scores import ensembles
from fer.report.fold_members import merge_folds, out_of_fold
from fer.report.human_ceiling import human_ceilings
from fer.report.markdown import markdown
from fer.report.overall import overall_findings
from fer.report.page.gallery import Pictures, attentions
from fer.report.page.write import page
from fer.report.read.load_results import load_results
from fer.report.read.provenance import provenance
from fer.report.read.report_cache import ReportCache
from fer.report.read.run_files import Curve, ReportRun, read_curve
from fer.report.subgroups import Facts, subgroup_scores
from fer.report.test_set_warnings import test_set_warnings
from fer.report.unknown_people import without_guessed_people
from fer.report.view_model import Findings, ViewModel, build_view_model


def no_facts(sample_id: str) -> Mapping[str, str]:
    """Return no metadata."""
    return {}


@dataclass(frozen=True)
class About:
    """What a report knows about a study besides its runs.

    Attributes:
        pictures: sample id -> the image file, or None if it is missing.
        facts: sample id -> metadata of the image, such as its mask type.
        best: names of the runs whose attention maps are shown, in order; None shows all.
        labels: grid key and value -> its name in words, such as `masks of nine styles`.
        warnings: warnings about the data, listed before those about the runs.
        unknown_people: splits in whose images nobody is known by name.
        framing: test split -> how faces are framed in it, as far as measured.
    """

    pictures: Pictures
    facts: Facts = no_facts
    best: Sequence[str] | None = None
    warnings: Sequence[str] = field(default=())
    labels: Mapping[tuple[str, str], str] = field(default_factory=dict)
    unknown_people: Collection[str] = ()
    framing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportSummary:
    """The folder of a report and its content (for the terminal)."""

    folder: Path
    said: ViewModel

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "index.html"


def build_report(study: Study, runs: Sequence[ReportRun], out: Path,
                 about: About) -> ReportSummary:
    """Write the report of `study` into `out` and return its content.

    Args:
        runs: the runs of the study, in any order and any state.
        out: the report folder, created if missing. The cache is kept beside it.
    """
    memory = ReportCache(out.parent)
    found = find(study, runs, memory, about)
    curves = [curve for run in found.each_run.runs
              if (curve := read_curve(run, memory)) is not None]
    memory.save()
    view = build_view_model(study, found, len(curves), about.pictures, out)
    write_tables(study.study, found, out)
    key: dict[str, str] = {}
    drawings = _figures(found, curves, out / "figures", key)
    files = ["confusion"] if found.analysis.cells else []  # the page shows these as tables
    write_text(out / "report.md", markdown(view, [*drawings, *files], key))
    write_text(out / "index.html", page(view, drawings, key))
    return ReportSummary(out, view)


def find(study: Study, runs: Sequence[ReportRun], memory: ReportCache, about: About) -> Findings:
    """Return the findings of `runs` as numbers."""
    loaded = without_guessed_people(load_results(study, runs, memory), about.unknown_people)
    drawn, notes_on_drawings = drawings_of(loaded)
    gathered, said_of_folds = merge_folds(loaded)
    gathered = replace(gathered, problems=(*about.warnings, *notes_on_drawings,
                                           *gathered.problems))
    analysis = replace(analyse(study, gathered), labels=about.labels)
    pooled, notes = ensembles(gathered, analysis)
    analysis = replace(analysis, problems=(*analysis.problems, *test_set_warnings(analysis),
                                           *notes))
    over = overall_findings(analysis, study.baselines)
    if over is not None and over.no_line:
        analysis = replace(analysis, problems=(*analysis.problems, over.no_line))
    origin = replace(provenance(loaded.runs, memory), framing=about.framing)
    if lines := [*origin.few_people, *([origin.mixed] if origin.mixed else [])]:
        analysis = replace(analysis, problems=(*analysis.problems, *lines))
    return Findings(gathered, analysis, tuple(compare(study, analysis)), over,
                    tuple(pooled), tuple(subgroup_scores(analysis, about.facts, gathered.measured)),
                    tuple(attentions(_with_maps(loaded.runs, about))), origin, drawn,
                    tuple(human_ceilings(analysis, about.facts)), loaded,
                    out_of_fold(gathered, analysis), tuple(said_of_folds))


def _with_maps(runs: Sequence[ReportRun], about: About) -> list[ReportRun]:
    """Return the runs whose attention maps are shown; formerly best runs may have maps too."""
    if about.best is None:
        return list(runs)
    by_name = {run.run: run for run in runs}
    return [by_name[name] for name in about.best if name in by_name]


def _figures(found: Findings, curves: Sequence[Curve],
             folder: Path, key: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Write the figures; return those of the page as inline SVG, wide and narrow.

    Args:
        key: is extended by words that no font has, and what stands for them.
    """
    from fer.report.figures.canvas import inline, save, svg  # matplotlib is slow to import
    from fer.report.figures.catalogue import planned
    from fer.report.figures.matrices import confusion_figure

    if found.analysis.cells:
        save(confusion_figure(found.analysis), folder, "confusion", key)
    drawings = {}
    for name, (title, draw) in planned(found, curves).items():
        drawings[name] = (inline(save(draw(False), folder, name, key), title),
                          inline(svg(draw(True), f"{name}-narrow", key), title))
    _remove_stale(folder, {*drawings, *(["confusion"] if found.analysis.cells else [])})
    return drawings


def _remove_stale(folder: Path, names: set[str]) -> None:
    """Remove figures of the previous page that this one does not have.

    Figures newer than that page belong to another report that is being written concurrently.
    """
    page = folder.parent / "index.html"
    written = page.stat().st_mtime if page.is_file() else 0.0
    for file in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        with suppress(FileNotFoundError):
            if file.stem not in names and file.stat().st_mtime <= written:
                file.unlink()
