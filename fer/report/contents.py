"""Everything that the page, the Markdown and the terminal say, gathered once.

Plain values only: how they look is the templates' business.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fer.config.study import Study
from fer.evaluate.bootstrap import RESAMPLES
from fer.evaluate.interval import SEEDS_NEEDED
from fer.evaluate.metrics import CALIBRATION_BINS
from fer.report.analyse import Analysis, Cell, Config
from fer.report.answer import Answer, answer
from fer.report.collect import Gathered, ReportRun
from fer.report.compare import Family
from fer.report.gallery import Pictures, Wrong, embed, wrong_for_all
from fer.report.words import count, points, score


@dataclass(frozen=True)
class TestSet:
    """One test set as it was measured; `digest` says which pictures these are."""

    split: str
    role: str  # with the split in brackets; `name` without
    name: str
    n: int
    people: int | None
    digest: str
    support: str


@dataclass(frozen=True)
class Matrix:
    """One confusion matrix: rows of (share of the true class or None, count)."""

    title: str
    size: str
    rows: tuple[tuple[str, tuple[tuple[float | None, int], ...]], ...]


@dataclass(frozen=True)
class Row:
    """One configuration in the tables: a text a test set, and the gap."""

    config: Config
    seeds: str
    scores: tuple[str, ...]
    gap: str
    gap_recall: tuple[str, ...]
    matrices: tuple[Matrix, ...]
    recalls: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures that all `models` get wrong on `split`: how many, and the ones shown."""

    split: str
    total: int
    of: int
    models: int
    shown: tuple[tuple[Wrong, str], ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Contents:
    """What a report says."""

    study: str
    drawn: bool
    done: int
    runs: tuple[tuple[ReportRun, str], ...]
    states: str
    answer: Answer
    sets: tuple[TestSet, ...]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    families: tuple[Family, ...]
    gallery: Gallery | None
    problems: tuple[str, ...]
    failures: tuple[tuple[ReportRun, str], ...]
    has_gap: bool
    curves: int
    methods: tuple[str, ...]

    @property
    def partial(self) -> bool:
        """Whether some runs have no result yet."""
        return self.done < len(self.runs)


def contents(study: Study, gathered: Gathered, analysis: Analysis, families: Sequence[Family],
             curves: int, pictures: Pictures, out: Path, drawn: bool) -> Contents:
    """Return what the report in folder `out` says; `curves` is how many runs have one."""
    links = {run.run: os.path.relpath(run.folder, out).replace(os.sep, "/")
             for run in gathered.runs}
    runs = tuple((run, links[run.run]) for run in gathered.runs)
    states = Counter(run.state for run in gathered.runs)
    return Contents(
        study=study.study, drawn=drawn, done=states["done"], runs=runs,
        states=", ".join(f"{number} {state}" for state, number in sorted(states.items())),
        answer=answer(analysis, families), sets=_test_sets(gathered, analysis),
        classes=analysis.classes, rows=_rows(analysis), families=tuple(families),
        gallery=_gallery(study, gathered, analysis, pictures),
        problems=analysis.problems,
        failures=tuple((run, link) for run, link in runs if run.error),
        has_gap=bool(analysis.gaps), curves=curves, methods=_methods(analysis))


def _test_sets(gathered: Gathered, analysis: Analysis) -> tuple[TestSet, ...]:
    found = []
    for split in analysis.measured_splits():
        one = gathered.on(split)[0]
        cell = next(cell for (_, name), cell in analysis.cells.items() if name == split)
        support = ", ".join(f"{number} {name}" for name, number in one.metrics["support"].items())
        people = cell.metrics["uar"].people
        role = analysis.role(split)
        found.append(TestSet(split, role, role.split(" (")[0], cell.n,
                             people[0] if people else None, one.digest, support))
    return tuple(found)


def _rows(analysis: Analysis) -> tuple[Row, ...]:
    """Return one row a configuration that was measured anywhere."""
    splits, rows = analysis.measured_splits(), []
    for config in analysis.configs:
        cells = [analysis.cells.get((config.config_id, split)) for split in splits]
        there = [cell for cell in cells if cell is not None]
        if not there:
            continue
        gaps = analysis.gaps.get(config.config_id, {})
        seeds = sorted({len(cell.seeds) for cell in there})
        rows.append(Row(
            config, "–".join(str(number) for number in {seeds[0]: 0, seeds[-1]: 0}),
            tuple(score(cell.metrics["uar"]) if cell else "–" for cell in cells),
            points(gaps.get("uar")),
            tuple(points(gaps.get(f"recall:{name}")) for name in analysis.classes),
            tuple(_matrix(analysis, cell) for cell in there if _in_gap(analysis, cell.split)),
            tuple((cell.split, tuple(score(cell.metrics[f"recall:{name}"])
                                     for name in analysis.classes)) for cell in there)))
    return tuple(rows)


def _in_gap(analysis: Analysis, split: str) -> bool:
    return analysis.gap is None or split in (analysis.gap.synthetic, analysis.gap.real)


def _matrix(analysis: Analysis, cell: Cell) -> Matrix:
    totals = cell.confusion.sum(axis=1)
    rows = tuple(
        (name, tuple((float(number / total) if total else None, int(number)) for number in line))
        for name, line, total in zip(analysis.classes, cell.confusion, totals, strict=True))
    role, *_ = analysis.role(cell.split).split(" (")
    pictures = f"{cell.split}, n = {cell.n:,}, {count(len(cell.seeds), 'seed')}"
    return Matrix(role, pictures, rows)


def _gallery(study: Study, gathered: Gathered, analysis: Analysis,
             pictures: Pictures) -> Gallery | None:
    """Return the pictures of the real set (else of the last set) that all models get wrong."""
    splits = analysis.measured_splits()
    if not splits:
        return None
    split = study.gap.real if study.gap and study.gap.real in splits else splits[-1]
    found, models = wrong_for_all(gathered.on(split))
    if not models:
        return None
    shown, lost = embed(found, pictures)
    size = next(cell.n for (_, name), cell in analysis.cells.items() if name == split)
    return Gallery(split, len(found), size, models, tuple(shown), tuple(lost))


def _methods(analysis: Analysis) -> tuple[str, ...]:
    """Return what has to be known to cite a number of the report."""
    resamples = f"{RESAMPLES:,}"
    return (
        "UAR is the mean of the recalls of the classes that the test set has (balanced accuracy);"
        " macro-F1 is a mean over the same classes. A configuration is everything but the seed; "
        "its number is the mean over its seeds, and nothing else is pooled.",
        f"Intervals are 95 % percentile bootstrap intervals of {resamples} resamples of people, "
        "not of pictures: all pictures of a person are drawn together, and the same people are "
        "drawn for every model, so that differences on one test set are paired. With "
        f"{SEEDS_NEEDED} seeds or more, seeds are resampled too. Both levels are widened for "
        "small numbers by √(n/(n−1)) · t/z, and the variance between seeds is taken net of "
        "what test sampling puts into it.",
        "The gap is synthetic minus real of the same models, in UAR and recall per class; people "
        "of the two sets are drawn independently where they are different people.",
        "A rank is claimed where Holm's adjusted p within the family of planned comparisons is "
        "below 0.05 and the interval excludes zero. Everything else is tied.",
        f"ECE has {CALIBRATION_BINS} equal-width bins; NLL is in nats.",
    )
