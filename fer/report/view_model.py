"""The content of the page, the Markdown and the terminal, as plain values.

Templates define the layout; tables are in `fer.report.report_tables`.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fer.config.study import Study
from fer.report import report_tables as listings
from fer.report.analysis import Analysis
from fer.report.comparisons import Family
from fer.report.configurations import Config
from fer.report.ensemble_scores import Ensemble
from fer.report.fold_members import OutOfFold, fold_listing
from fer.report.formatting import points, score
from fer.report.human_ceiling import HumanCeiling, human_listing
from fer.report.methods import methods
from fer.report.overall import Overall
from fer.report.page.gallery import Attention, Pictures, Shown, disputed, embed, wrong_for_all
from fer.report.read.load_results import LoadedResults
from fer.report.read.provenance import Provenance
from fer.report.read.run_files import Failure, ReportRun, failures
from fer.report.row_details import Detail, row_details
from fer.report.subgroups import Subgroup
from fer.report.summary import Summary, summarise
from fer.report.table_model import Column, Listing, capped, listing, number, text

NAMES, HOLM = 3, 4  # name columns in the results; column of Holm's p in the comparisons


@dataclass(frozen=True)
class Findings:
    """The findings of a study as numbers; `drawn` says which images are drawings, if any."""

    gathered: LoadedResults
    analysis: Analysis
    families: tuple[Family, ...]
    across: Overall | None
    ensembles: tuple[Ensemble, ...]
    parts: tuple[Subgroup, ...]
    attention: tuple[Attention, ...]
    provenance: Provenance
    drawn: str
    humans: tuple[HumanCeiling, ...] = ()
    loaded: LoadedResults | None = None  # of every run, where `gathered` has means over folds
    folds: tuple[OutOfFold, ...] = ()
    said_of_folds: tuple[str, ...] = ()

    @property
    def each_run(self) -> LoadedResults:
        """The results of every run."""
        return self.loaded or self.gathered


@dataclass(frozen=True)
class TestSet:
    """One test set; `digest` identifies its images."""

    split: str
    role: str  # with the split in brackets; `name` is without
    name: str
    n: int
    people: int | None
    digest: str
    support: str


@dataclass(frozen=True)
class Row:
    """One configuration in the terminal's table.

    `rank` is its UAR on the main test set.
    """

    config: Config
    seeds: str
    scores: tuple[str, ...]
    gap: str
    rank: float


@dataclass(frozen=True)
class Gallery:
    """A selection of images of `split` over all `models`: their number, and the ones shown."""

    split: str
    total: int
    of: int
    models: int
    shown: tuple[tuple[Shown, str], ...]
    lost: tuple[str, ...]

    def verb(self, one: str, many: str) -> str:
        """Return the verb that agrees with the number of images."""
        return one if self.total == 1 else many


@dataclass(frozen=True)
class Comparisons:
    """One family of planned comparisons, as a table."""

    family: Family
    pairs: Listing


@dataclass(frozen=True)
class ViewModel:
    """The content of a report."""

    study: str
    drawn: str  # what is said of drawings; empty without any
    done: int
    runs: tuple[tuple[ReportRun, str], ...]
    states: str
    summary: Summary
    sets: tuple[TestSet, ...]
    judged_on: str
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    listings: dict[str, Listing]
    details: Mapping[str, Detail]
    comparisons: tuple[Comparisons, ...]
    across: Overall | None
    wrong: Gallery | None
    disputed: Gallery | None
    attention: tuple[Attention, ...]
    problems: tuple[str, ...]
    failures: tuple[Failure, ...]
    failed: int
    has_gap: bool
    curves: int
    methods: tuple[str, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """The planned comparisons."""
        return tuple(one.family for one in self.comparisons)

    @property
    def partial(self) -> bool:
        """Whether some runs have no result yet."""
        return self.done < len(self.runs)


def build_view_model(study: Study, found: Findings, curves: int, pictures: Pictures,
                     out: Path) -> ViewModel:
    """Return the content of the report in folder `out`; `curves` is the number of curves."""
    gathered, analysis = found.gathered, found.analysis
    runs = tuple((run, os.path.relpath(run.folder, out).replace(os.sep, "/"))
                 for run in found.each_run.runs)
    states = Counter(run.state for run in found.each_run.runs)
    sets, split = _test_sets(gathered, analysis), found.across.split if found.across else ""
    return ViewModel(
        study=study.study, drawn=found.drawn, done=states["done"], runs=runs,
        states=", ".join(f"{number} {state}" for state, number in sorted(states.items())),
        summary=summarise(analysis, found.families, found.across, found.provenance.kept),
        sets=sets,
        judged_on=analysis.main_split() if sets else "",
        classes=analysis.classes, rows=_rows(analysis), listings=_listings(found, sets, runs),
        details=row_details(analysis, found.parts, gathered, pictures) if sets else {},
        comparisons=tuple(Comparisons(
            one, capped(listings.comparisons(one), "comparisons.csv", HOLM, rising=True))
            for one in found.families),
        across=found.across,
        wrong=_gallery(split, gathered, *wrong_for_all(gathered.on(split)), pictures),
        disputed=_gallery(split, gathered, disputed(gathered.on(split)),
                          len(gathered.on(split)), pictures),
        attention=found.attention, problems=analysis.problems,
        failures=failures(runs), failed=sum(bool(run.error) for run, _ in runs),
        has_gap=bool(analysis.gaps), curves=curves, methods=methods(analysis, found.provenance))


def _listings(found: Findings, sets: Sequence[TestSet],
              runs: Sequence[tuple[ReportRun, str]]) -> dict[str, Listing]:
    """Return the non-empty tables by name."""
    analysis, over = found.analysis, found.across
    splits = analysis.shown_splits()
    real = NAMES + splits.index(over.split) if over and over.split in splits else None
    tables = {
        "results": capped(listings.results(analysis, over), "summary.csv", real),
        "ensembles": capped(listings.ensembles(analysis, found.ensembles), "ensembles.csv"),
        "sets": listing("The test sets", [
            Column("set"), Column("pictures", "n", True), Column("people", number=True),
            Column("classes"), Column("digest")], [
            [text(one.role), number(one.n), number(one.people), text(one.support),
             text(one.digest[:16])] for one in sets]),
        "metrics": capped(listings.other_metrics(analysis, found.ensembles),
                          "summary.csv and ensembles.csv"),
        "gaps": capped(listings.gaps(analysis), "gap.csv"),
        "parts": capped(listings.parts(found.parts), "parts.csv"),
        "runs": capped(listings.runs(runs), "launch/status.py --json")}
    tables["results"] = replace(tables["results"],
                                notes=(*tables["results"].notes, *found.said_of_folds))
    if found.folds:
        tables["folds"] = capped(fold_listing(found.folds), "out_of_fold.csv", 1)
    if found.humans:
        tables["humans"] = capped(human_listing(found.humans), "humans.csv")
    if over and over.robustness:
        tables["robustness"] = capped(listings.robustness(analysis, over), "robustness.csv")
    return {name: table for name, table in tables.items() if table.rows}


def _test_sets(gathered: LoadedResults, analysis: Analysis) -> tuple[TestSet, ...]:
    found = []
    for split in analysis.measured_splits():
        one = gathered.on(split)[0]
        cell = next(cell for (_, name), cell in analysis.cells.items() if name == split)
        support = ", ".join(f"{number} {name}" for name, number in one.metrics["support"].items())
        people = cell.metrics["uar"].people
        role = analysis.role(split)
        found.append(TestSet(split, role, role.split(" (")[0], cell.n,
                             sum(people[:1]) or None, one.digest, support))
    return tuple(found)


def _rows(analysis: Analysis) -> tuple[Row, ...]:
    """Return one row per configuration with results."""
    splits, rows = analysis.measured_splits(), list[Row]()
    for config in analysis.configs:
        cells = [analysis.cells.get((config.config_id, split)) for split in splits]
        measured = [cell for cell in cells if cell is not None]
        if not measured:
            continue
        gap = analysis.gap_of(config.config_id, analysis.gap) if analysis.gap else None
        seeds = sorted({cell.metrics["uar"].seeds for cell in measured})
        rows.append(Row(
            config, "–".join(str(number) for number in {seeds[0]: 0, seeds[-1]: 0}),
            tuple(score(cell.metrics["uar"]) if cell else "–" for cell in cells),
            points(gap), analysis.main_score(config)))
    return tuple(rows)


def _gallery(split: str, gathered: LoadedResults, found: Sequence[Shown], models: int,
             pictures: Pictures) -> Gallery | None:
    """Return the first of `found` with their images; None without models."""
    if not models or not split:
        return None
    shown, lost = embed(found, pictures)
    size = int(gathered.on(split)[0].metrics["n"])
    return Gallery(split, len(found), size, models, tuple(shown), tuple(lost))
