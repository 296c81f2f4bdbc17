"""The study's table for a paper: LaTeX with booktabs, means with intervals, n and seeds."""

from fer.evaluate.interval import Interval
from fer.report.analyse import Analysis


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
        seeds = max(cell.metrics["uar"].seeds for cell in cells if cell)
        lines.append(" & ".join([_name(config.label), *row, str(seeds)]) + r" \\")
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


def _name(text: str) -> str:
    """Escape what only names hold; the rest is escaped line by line."""
    return "".join(f"\\{char}" if char in "&%#$" else char for char in text)


def _escape(line: str) -> str:
    """Escape names in `line`; LaTeX's own lines hold none of these characters but % and &."""
    return "".join(r"\_" if char == "_" else r"$\cdot$" if char == "·" else char
                   for char in line)
