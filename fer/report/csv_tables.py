"""The study's numbers as CSV files.

Output is byte-identical for the same runs in any order: fixed row order, fixed number of digits,
no timestamps.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from fer.atomic_io import write_text
from fer.evaluate.intervals import Interval
from fer.plain_text import spreadsheet_cell
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.fold_members import fold_rows
from fer.report.human_ceiling import human_rows
from fer.report.latex import latex
from fer.report.read.load_results import LoadedResults
from fer.report.view_model import Findings

MEANS = ("uar", "accuracy", "macro_f1")
PLAIN = ("nll", "ece", "brier", "auroc")
REMOVED = ("pooled", "omnibus", "agreement")  # files of reports of before


def write_tables(study: str, found: Findings, out: Path) -> None:
    """Write the CSV files and tables.tex into `out`."""
    analysis = found.analysis
    write_results(study, found.each_run, out)
    files = {"summary": _summary(study, analysis), "gap": _gaps(study, analysis),
             "confusion": _confusions(study, found),
             "comparisons": _comparisons(study, found),
             "parts": _parts(study, found),
             "ensembles": _ensembles(study, found), "robustness": _robustness(study, found)}
    for name, present, rows in (("humans", found.humans, human_rows(study, found.humans)),
                                ("out_of_fold", found.folds, fold_rows(study, found.folds))):
        if present:
            files[name] = rows
        else:
            (out / f"{name}.csv").unlink(missing_ok=True)
    for name, rows in files.items():
        write_text(out / f"{name}.csv", _csv(rows))
    write_text(out / "tables.tex", latex(study, analysis, found.drawn))
    for name in REMOVED:
        (out / f"{name}.csv").unlink(missing_ok=True)


def write_results(study: str, gathered: LoadedResults, out: Path) -> None:
    """Write results.csv and recall.csv, which need only the metrics, into `out`."""
    write_text(out / "results.csv", "".join(_results(study, gathered)))
    write_text(out / "recall.csv", "".join(_recalls(gathered)))


def _results(study: str, gathered: LoadedResults) -> Iterable[str]:
    """Yield one line per run x test set; there may be tens of thousands."""
    yield ("study,run,run_id,config_id,backbone,recipe,train_on,test_on,seed,n,accuracy,macro_f1,"
           "uar,nll,ece\n")
    for run in gathered.runs:
        start = _line((study, run.run, run.run_id, run.config_id, run.backbone, run.recipe,
                       run.train_on))
        for split in gathered.splits:
            if (run.run, split) not in gathered.measured:
                continue
            one = gathered.measured[run.run, split].metrics
            yield (f"{start},{_cell(split)},{run.seed},{one['n']},{one['accuracy']:.6f},"
                   f"{one['macro_f1']:.6f},{one['uar']:.6f},{one['nll']:.6f},{one['ece']:.6f}\n")


def _recalls(gathered: LoadedResults) -> Iterable[str]:
    """Yield one line per run x test set x class; n is the number of images of the class."""
    yield "run_id,test_on,class,n,recall,precision\n"
    for run in gathered.runs:
        for split in gathered.splits:
            if (run.run, split) not in gathered.measured:
                continue
            one = gathered.measured[run.run, split].metrics
            start = f"{run.run_id},{_cell(split)}"
            support, recall, precision = one["support"], one["recall"], one["precision"]
            for name in one["classes"]:
                found, exact = recall[name], precision[name]
                yield (f"{start},{_cell(name)},{support[name]},"
                       f"{'' if found is None else format(found, '.6f')},"
                       f"{'' if exact is None else format(exact, '.6f')}\n")


def _summary(study: str, analysis: Analysis) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration x test set; means over seeds."""
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "test_on", "seeds", "n",
           "people", "interval", *(f"{name}{end}" for name in MEANS for end in
                                   ("", "_low", "_high")), *PLAIN,
           "nll_low", "nll_high", "brier_low", "brier_high", "ece_debiased", "ece_debiased_low",
           "ece_debiased_high", "people_worth", "seed_df", "collapsed_seeds")
    for config in analysis.configs:
        for split in analysis.splits:
            cell = analysis.cells.get((config.config_id, split))
            if cell is None:
                continue
            uar = cell.metrics["uar"]
            yield (study, *_names(config), split, uar.seeds, cell.n,
                   sum(uar.people[:1]) or None, uar.kind,
                   *(number for name in MEANS for number in _limits(cell.metrics[name])),
                   *(cell.plain.get(name) for name in PLAIN),
                   *(number for name in ("nll", "brier")
                     for number in _limits(cell.soft.get(name))[1:]),
                   *_limits(cell.soft.get("ece_debiased")), uar.worth, uar.seed_df,
                   ";".join(map(str, cell.tables.collapsed)) if cell.tables else "")


def _confusions(study: str, found: Findings) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration x test set or subgroup x true class x predicted class.

    `fact` and `value` name the subgroup; they are empty for the whole set.
    """
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "test_on", "fact",
           "value", "seeds", "class", "called", "n")
    tables = [(cell.config, cell.split, "", "", len(cell.seeds), cell.confusion)
              for cell in found.analysis.cells.values()]
    tables += [(part.config, part.split, part.fact, part.value, len(part.by_seed), part.confusion)
               for part in found.parts]
    classes = found.analysis.classes
    for config, *place, counts in tables:
        for name, line in zip(classes, counts.tolist(), strict=True):
            for predicted, number in zip(classes, line, strict=True):
                yield (study, *_names(config), *place, name, predicted, number)


def _gaps(study: str, analysis: Analysis) -> Iterable[Sequence[Any]]:
    """Yield one row per real set x configuration x metric: synthetic minus real, a fraction."""
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "synthetic", "real",
           "metric", "gap", "low", "high", "interval", "seeds", "n_synthetic", "n_real", "classes")
    for pair, config in product(analysis.pairs, analysis.configs):
        common = analysis.scores.classes([pair.synthetic, pair.real])
        for metric, one in analysis.gaps_on[pair.real].get(config.config_id, {}).items():
            yield (study, *_names(config), pair.synthetic, pair.real, metric,
                   *_limits(one), one.kind, one.seeds, one.n[0], one.n[:2][-1],
                   1 if ":" in metric else len(common))


def _comparisons(study: str, found: Findings) -> Iterable[Sequence[Any]]:
    """Yield one row per planned pair; McNemar's p-values of all seeds are in one cell."""
    yield ("study", "family", "over", "test_on", "among", "left", "right", "difference", "low",
           "high", "interval", "seeds", "n", "p", "p_holm", "verdict", "mcnemar",
           "gap_difference", "gap_low", "gap_high", "gap_seeds", "gap_n_synthetic", "gap_n_real",
           "low_simultaneous", "high_simultaneous", "gap_low_simultaneous",
           "gap_high_simultaneous", "planned")
    for family in found.families:
        for pair in family.pairs:
            one = pair.difference
            yield (study, family.name, family.over, pair.split, pair.among, pair.left, pair.right,
                   *_limits(one), one.kind, one.seeds, one.n[0], _p(one.p),
                   _p(pair.claim.adjusted), pair.winner or pair.said,
                   ";".join(f"{test.seed}={_p(test.p)}" for test in pair.exact),
                   *((*_limits(pair.gap), pair.gap.seeds, pair.gap.n[0], pair.gap.n[:2][-1])
                     if pair.gap else (None,) * 6),
                   *_limits(pair.simultaneous)[1:], *_limits(pair.gap_simultaneous)[1:],
                   "yes" if pair.planned else "no")


def _parts(study: str, found: Findings) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration x subgroup x metric, and one for each of its runs.

    `seed` is empty in the former. Runs have no limits, nor do precision, nll, brier, ece, auroc.
    """
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "test_on", "fact",
           "value", "metric", "score", "low", "high", "seeds", "n", "people", "seed")
    for part in found.parts:
        limits = {metric: _limits(one) for metric, one in part.metrics.items()}
        limits |= {metric: (value, None, None) for metric, value in part.plain.items()}
        if part.gap is not None:  # not given by seed
            yield (study, *_names(part.config), part.split, part.fact, part.value, "gap",
                   *_limits(part.gap), part.gap.seeds, part.n, part.people or None, "")
        for metric, numbers in limits.items():
            start = (study, *_names(part.config), part.split, part.fact, part.value, metric)
            yield (*start, *numbers, len(part.by_seed), part.n, part.people or None, "")
            for seed, alone in part.by_seed.items():
                yield (*start, alone[metric], "", "", 1, part.n, part.people or None, seed)


def _ensembles(study: str, found: Findings) -> Iterable[Sequence[Any]]:
    """Yield one row per ensemble x test set x metric; `members` are run names, with repetition."""
    yield ("study", "ensemble", "how", "train_on", "test_on", "metric", "score", "low", "high", "n",
           "members")
    for one in found.ensembles:
        for split, metrics in one.metrics.items():
            for metric, interval in (metrics | one.soft[split]).items():
                yield (study, one.name, one.how, one.train_on, split, metric, *_limits(interval),
                       interval.n[0], ";".join(one.members))
            for metric, value in one.plain[split].items():
                if metric in one.soft[split]:
                    continue
                yield (study, one.name, one.how, one.train_on, split, metric, value, None, None,
                       metrics["uar"].n[0], ";".join(one.members))


def _robustness(study: str, found: Findings) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration: its effective robustness and the line over the baselines."""
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "effective_robustness",
           "low", "high", "baseline", "intercept", "slope")
    over = found.across.robustness if found.across else None
    for config in found.analysis.configs if over else ():
        assert over is not None
        one = over.above.get(config.config_id)
        if one is not None:
            yield (study, *_names(config), one.value, one.low, one.high,
                   "yes" if one.baseline else "no", over.line.intercept, over.line.slope)


def _names(config: Config) -> tuple[str, ...]:
    axes = ";".join(f"{key}={value}" for key, value in config.axes)
    return config.config_id, config.backbone, config.recipe, config.train_on, axes


def _limits(one: Interval | None) -> tuple[float | None, float | None, float | None]:
    return (one.value, one.low, one.high) if one else (None, None, None)


def _p(value: float | None) -> str:
    """Return a p-value with six significant digits."""
    return "" if value is None else f"{value:.6g}"


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text; floats have six digits, undefined values are empty."""
    return "".join([_line(row) + "\n" for row in rows])


def _line(row: Sequence[Any]) -> str:
    return ",".join([_cell(cell) for cell in row])


def _cell(cell: Any) -> str:
    """Return one cell; the csv module is three times slower for tables of numbers."""
    if isinstance(cell, float):
        return f"{cell:.6f}"
    text = "" if cell is None else spreadsheet_cell(str(cell))
    if "," in text or '"' in text or "\n" in text:
        return '"' + text.replace('"', '""') + '"'
    return text
