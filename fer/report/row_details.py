"""What a row of the results opens to: recalls, confusion, mask types, pictures all seeds get wrong.

Only for the configurations that are best on the main test set; the files have all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer.report.analysis import Analysis, Cell
from fer.report.configurations import Config
from fer.report.formatting import count, points, score
from fer.report.gaps import NET
from fer.report.page.gallery import Pictures, Shown, embed, wrong_for_all
from fer.report.read.load_results import LoadedResults
from fer.report.subgroups import Subgroup
from fer.report.table_model import Column, Listing, listing, number, scored, text

DETAILS_SHOWN = 24  # configurations on the page; the CSV files have all
PICTURES_SHOWN = 6  # of a configuration


@dataclass(frozen=True)
class Matrix:
    """One confusion matrix: rows of (share of the true class or None, count)."""

    title: str
    size: str
    rows: tuple[tuple[str, tuple[tuple[float | None, int], ...]], ...]


@dataclass(frozen=True)
class Detail:
    """What is known of one configuration.

    Attributes:
        recalls: of each class on the test sets of the gap, with the gaps.
        mask_types: UAR on each; without rows where none are known.
        wrong: the pictures of `split` that all of its seeds get wrong: their number, of how many,
            and the first of them with their images.
    """

    label: str
    matrices: tuple[Matrix, ...]
    recalls: Listing
    mask_types: Listing
    split: str
    wrong: int
    of: int
    seeds: int
    shown: tuple[tuple[Shown, str], ...]


def row_details(analysis: Analysis, parts: Sequence[Subgroup], gathered: LoadedResults,
                pictures: Pictures) -> Mapping[str, Detail]:
    """Return config_id -> detail, of the configurations that are best on the main test set."""
    known: dict[str, list[Subgroup]] = {}
    for part in parts:
        if part.fact == "mask_type":
            known.setdefault(part.config.config_id, []).append(part)
    ranked = sorted(analysis.configs, key=lambda one: -analysis.main_score(one))
    measured = [config for config in ranked if any(
        (config.config_id, split) in analysis.cells for split in analysis.splits)]
    return {config.config_id: _detail(config, analysis, known.get(config.config_id, []), gathered,
                                      pictures) for config in measured[:DETAILS_SHOWN]}


def _detail(config: Config, analysis: Analysis, parts: Sequence[Subgroup],
            gathered: LoadedResults, pictures: Pictures) -> Detail:
    cells = [cell for split in analysis.measured_splits() if in_gap(analysis, split)
             if (cell := analysis.cells.get((config.config_id, split)))]
    split = analysis.main_split()
    found, seeds = wrong_for_all([one for run in config.runs
                                  if (one := gathered.measured.get((run.run, split)))])
    of = next((cell.n for cell in cells if cell.split == split), 0)
    shown, _ = embed(found, pictures, PICTURES_SHOWN)
    return Detail(config.label, tuple(_matrix(analysis, cell) for cell in cells),
                  _recalls(config, analysis, cells), _mask_types(parts), split, len(found), of,
                  seeds, tuple(shown))


def in_gap(analysis: Analysis, split: str) -> bool:
    """Return whether a test set is part of the gap; all are in a study without one."""
    return not analysis.pairs or any(split in (pair.synthetic, pair.real)
                                     for pair in analysis.pairs)


def _recalls(config: Config, analysis: Analysis, cells: Sequence[Cell]) -> Listing:
    pairs = [(analysis.controlled(pair), pair, found) for pair in analysis.pairs
             if (found := analysis.gaps_on[pair.real].get(config.config_id))]
    rows = [[text(name), *(text(score(cell.metrics.get(f"recall:{name}"))) for cell in cells),
             *(text(points(found.get(f"recall:{name}{NET if net else ''}")))
               for net, _, found in pairs)]
            for name in analysis.classes]
    several = len(analysis.pairs) > 1
    return listing("Recall per class", [
        Column("class"), *(Column(analysis.role(cell.split).split(" (")[0], cell.split, True)
                           for cell in cells),
        *(Column("gap", ", ".join(("points", *(["net of control"] if net else []),
                                   *([pair.real] if several else []))), True)
          for net, pair, _ in pairs)], rows)


def _mask_types(parts: Sequence[Subgroup]) -> Listing:
    return listing("UAR by mask type", [
        Column("test set"), Column("mask type"), Column("UAR", number=True),
        Column("n", number=True)], [
        [text(part.split), text(part.value), scored(part.metrics["uar"]), number(part.n)]
        for part in parts])


def _matrix(analysis: Analysis, cell: Cell) -> Matrix:
    totals = cell.confusion.sum(axis=1)
    rows = tuple(
        (name, tuple((float(number / total) if total else None, int(number)) for number in line))
        for name, line, total in zip(analysis.classes, cell.confusion, totals, strict=True))
    role, *_ = analysis.role(cell.split).split(" (")
    pictures = f"{cell.split}, n = {cell.n:,}, {count(len(cell.seeds), 'seed')}"
    return Matrix(role, pictures, rows)
