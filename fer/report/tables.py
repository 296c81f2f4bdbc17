"""The study's numbers as files for other programs: CSV, and LaTeX with booktabs.

The same runs give the same bytes, whatever the order they are named in: fixed order, fixed
number of digits, no times. Pages for people are `fer.report.page` and `fer.report.markdown`.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fer.evaluate.interval import Interval
from fer.publish import write_text
from fer.report.analyse import Analysis, Config
from fer.report.collect import Gathered

MEANS = ("uar", "accuracy", "macro_f1")


def write_tables(study: str, gathered: Gathered, analysis: Analysis, out: Path) -> None:
    """Write results.csv, recall.csv, summary.csv, gap.csv and tables.tex into `out`."""
    write_text(out / "results.csv", _csv(_results(study, gathered)))
    write_text(out / "recall.csv", _csv(_recalls(gathered)))
    write_text(out / "summary.csv", _csv(_summary(study, analysis)))
    write_text(out / "gap.csv", _csv(_gaps(study, analysis)))
    write_text(out / "tables.tex", latex(study, analysis))


def _results(study: str, gathered: Gathered) -> Iterable[Sequence[Any]]:
    """Yield one row per run x test set."""
    metrics = ("accuracy", "macro_f1", "uar", "nll", "ece")
    yield ("study", "run", "run_id", "config_id", "backbone", "recipe", "train_on", "test_on",
           "seed", "n", *metrics)
    for run in gathered.runs:
        for split in gathered.splits:
            one = gathered.measured.get((run.run, split))
            if one is not None:
                yield (study, run.run, run.run_id, run.config_id, run.backbone, run.recipe,
                       run.train_on, split, run.seed, one.metrics["n"],
                       *(float(one.metrics[name]) for name in metrics))


def _recalls(gathered: Gathered) -> Iterable[Sequence[Any]]:
    """Yield one row per run x test set x class; n is the pictures of the class."""
    yield "run_id", "test_on", "class", "n", "recall", "precision"
    for run in gathered.runs:
        for split in gathered.splits:
            one = gathered.measured.get((run.run, split))
            if one is None:
                continue
            columns = [one.metrics[key] for key in ("support", "recall", "precision")]
            for name in one.metrics["classes"]:
                yield (run.run_id, split, name, *(column[name] for column in columns))


def _summary(study: str, analysis: Analysis) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration x test set; means over seeds."""
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "test_on", "seeds", "n",
           "people", "interval", *(f"{name}{end}" for name in MEANS for end in
                                   ("", "_low", "_high")), "nll", "ece")
    for config in analysis.configs:
        for split in analysis.splits:
            cell = analysis.cells.get((config.config_id, split))
            if cell is None:
                continue
            uar = cell.metrics["uar"]
            yield (study, *_names(config), split, uar.seeds, cell.n,
                   uar.people[0] if uar.people else None, uar.kind,
                   *(number for name in MEANS for number in _limits(cell.metrics[name])),
                   cell.plain["nll"], cell.plain["ece"])


def _gaps(study: str, analysis: Analysis) -> Iterable[Sequence[Any]]:
    """Yield one row per configuration x metric: synthetic minus real, as a fraction."""
    yield ("study", "config_id", "backbone", "recipe", "train_on", "axes", "synthetic", "real",
           "metric", "gap", "low", "high", "interval", "seeds", "n_synthetic", "n_real")
    for config in analysis.configs:
        for metric, one in analysis.gaps.get(config.config_id, {}).items():
            assert analysis.gap is not None
            yield (study, *_names(config), analysis.gap.synthetic, analysis.gap.real, metric,
                   *_limits(one), one.kind, one.seeds, one.n[0], one.n[:2][-1])


def _names(config: Config) -> tuple[str, ...]:
    axes = ";".join(f"{key}={value}" for key, value in config.axes)
    return config.config_id, config.backbone, config.recipe, config.train_on, axes


def _limits(one: Interval) -> tuple[float | None, float | None, float | None]:
    return one.value, one.low, one.high


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    """Return CSV text; floats with six digits, nothing where undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if cell is None else f"{cell:.6f}" if isinstance(cell, float)
                         else cell for cell in row])
    return text.getvalue()


def latex(study: str, analysis: Analysis) -> str:
    """Return a booktabs table of UAR on each test set and the gap, with n and seeds."""
    splits = analysis.measured_splits()
    heads = [*(f"\\texttt{{{split}}}" for split in splits), *(["gap"] if analysis.gaps else [])]
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering",
             rf"\begin{{tabular}}{{l{'r' * len(heads)}r}}", r"\toprule",
             " & ".join(["configuration", *heads, "seeds"]) + r" \\", r"\midrule"]
    for config in analysis.configs:
        cells = [analysis.cells.get((config.config_id, split)) for split in splits]
        if not any(cells):
            continue
        row = [_tex(cell.metrics["uar"], 1) if cell else "--" for cell in cells]
        if analysis.gaps:
            gap = analysis.gaps.get(config.config_id, {}).get("uar")
            row.append(_tex(gap, 1) if gap else "--")
        seeds = max(len(cell.seeds) for cell in cells if cell)
        lines.append(" & ".join([config.label, *row, str(seeds)]) + r" \\")
    sizes = ", ".join(f"{split} {_n(analysis, split)}" for split in splits)
    what = sorted({cell.metrics["uar"].kind for cell in analysis.cells.values()})
    lines += [r"\bottomrule", r"\end{tabular}",
              rf"\caption{{Study {study}: UAR in \%, mean over seeds, 95\,\% interval "
              rf"({'; '.join(what) or 'none'}). Pictures: {sizes or 'none'}.}}", r"\end{table}", ""]
    return "\n".join(_escape(line) for line in lines)


def _n(analysis: Analysis, split: str) -> int:
    return next(cell.n for (_, name), cell in analysis.cells.items() if name == split)


def _tex(one: Interval, digits: int) -> str:
    if one.value is None:
        return "--"
    text = f"{100 * one.value:.{digits}f}"
    if one.low is None or one.high is None:
        return text
    return f"{text} [{100 * one.low:.{digits}f}, {100 * one.high:.{digits}f}]"


def _escape(line: str) -> str:
    """Escape names in `line`; LaTeX's own lines hold none of these characters but % and &."""
    return "".join(r"\_" if char == "_" else r"$\cdot$" if char == "·" else char
                   for char in line)
