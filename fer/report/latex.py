"""The results table in LaTeX with booktabs: means with intervals, n and seeds."""

from collections.abc import Sequence

from fer.evaluate.intervals import Interval
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.formatting import of_people

LINES = 40  # per table; longer tables are split
LETTERS, WIDTH = 30, "52mm"  # per line of a name, and the width of that line
SIGNS = {**{char: f"\\{char}" for char in "&%#$_{}"}, "\\": r"\textbackslash{}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$", "<": r"$<$",
         ">": r"$>$", "|": r"$|$", "×": r"$\times$", "−": r"$-$"}
# natural width, at most the line width
BEGIN = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def latex(study: str, analysis: Analysis, drawn: str = "") -> str:
    """Return booktabs tables of UAR on each test set and the gap, with n and seeds.

    Args:
        drawn: what the caption says of drawings.
    """
    splits = analysis.measured_splits()
    parts: list[list[str]] = [[]]
    left = LINES
    for config in analysis.configs:
        row, height = _row(config, analysis, splits), -(-len(config.label) // LETTERS)
        if not row:
            continue
        if parts[-1] and height > left:
            parts.append([])
            left = LINES
        parts[-1].append(row)
        left -= height
    lines = [r"% needs \usepackage{booktabs} and \usepackage{graphicx}"]
    for number, part in enumerate(parts, 1):
        more = f", part {number} of {len(parts)}" if len(parts) > 1 else ""
        caption = _caption(study, analysis, splits, more, drawn)
        lines += _table(part, caption, splits, sum(map(bool, analysis.gaps_on.values())))
    return "\n".join([*lines, ""])


def _table(rows: Sequence[str], caption: str, splits: Sequence[str], gaps: int) -> list[str]:
    heads = [*(rf"\texttt{{{escaped(split)}}}" for split in splits), *(["gap"] * gaps)]
    return [r"\begin{table}", r"\centering", BEGIN,
            rf"\begin{{tabular}}{{l{'r' * len(heads)}r}}", r"\toprule",
            " & ".join(["configuration", *heads, "seeds"]) + r" \\", r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}}", rf"\caption{{{caption}}}", r"\end{table}"]


def _row(config: Config, analysis: Analysis, splits: Sequence[str]) -> str:
    """Return one row of the table; empty for a configuration without results."""
    cells = [analysis.cells.get((config.config_id, split)) for split in splits]
    if not any(cells):
        return ""
    row = [_tex(cell.metrics["uar"]) if cell else "--" for cell in cells]
    for pair in analysis.pairs:
        if analysis.gaps_on[pair.real]:
            gap = analysis.gap_of(config.config_id, pair)
            row.append(_tex(gap) if gap else "--")
    seeds = sorted({cell.metrics["uar"].seeds for cell in cells if cell})
    counts = "--".join(dict.fromkeys((str(seeds[0]), str(seeds[-1]))))
    return " & ".join([_name(config.label), *row, counts]) + r" \\"


def _name(label: str) -> str:
    """Return a name, broken into several lines if it is long."""
    if len(label) <= LETTERS:
        return escaped(label)
    text = "".join(escaped(char) + r"\allowbreak{}" * (char in "-_=/.,%") for char in label)
    return rf"\parbox[t]{{{WIDTH}}}{{\raggedright\strut {text}\strut}}"


def _caption(study: str, analysis: Analysis, splits: Sequence[str], more: str,
             drawn: str) -> str:
    sizes = ", ".join(f"{split} {_n(analysis, split)}" for split in splits)
    gap = "".join(f" Gap: {pair.synthetic} minus {pair.real}, in points"
                  + (f", net of {pair.control[0]} minus {pair.control[1]}."
                     if pair.control and analysis.controlled(pair) else ".")
                  for pair in analysis.pairs if analysis.gaps_on[pair.real])
    what = sorted({cell.metrics["uar"].kind for cell in analysis.cells.values()})
    return (rf"Study {escaped(study)}{more}: unweighted average recall (UAR) in \%, mean over "
            r"seeds, 95\,\% interval "
            rf"({escaped('; '.join(what)) or 'none'}).{escaped(gap)} "
            rf"Pictures: {escaped(sizes) or 'none'}.{' ' + escaped(drawn) if drawn else ''}")


def _n(analysis: Analysis, split: str) -> str:
    cell = next(cell for (_, name), cell in analysis.cells.items() if name == split)
    people = cell.metrics["uar"].people
    return f"{cell.n}{of_people(people[:1])}"


def _tex(one: Interval) -> str:
    if one.value is None:
        return "--"
    text = _percent(one.value)
    if one.low is None or one.high is None:
        return text
    return rf"{text} {{\small[{_percent(one.low)}, {_percent(one.high)}]}}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}".replace("-", r"$-$")


def escaped(text: str) -> str:
    """Return a name with LaTeX's special characters escaped."""
    return "".join(SIGNS.get(char, char) for char in text)
