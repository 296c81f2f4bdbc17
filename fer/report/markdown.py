"""The report as Markdown, for a terminal or a repository: tables and links to the figures."""

from collections.abc import Sequence

from fer.report.answer import DRAWINGS
from fer.report.contents import Contents
from fer.report.words import points


def markdown(said: Contents, figures: Sequence[str]) -> str:
    """Return the text of report.md; `figures` are names in `figures/`."""
    parts = [f"# Study {said.study}"]
    if said.drawn:
        parts.append(f"> **{DRAWINGS}**")
    if said.partial:
        parts.append(f"**Partial report**: {said.done} of {len(said.runs)} runs are done "
                     f"({said.states}).")
    parts += [f"**{said.answer.main}**", said.answer.sizes]
    parts += [f"- {line}" for line in said.answer.others]
    parts += [f"*{line}*" for line in said.answer.caveats]
    parts += [f"![{name}](figures/{name}.png)" for name in figures]
    parts += _results(said) + _comparisons(said) + _gallery(said)
    if said.problems:
        parts += ["## What is missing or damaged", _bullets(said.problems)]
    if said.failures:
        parts.append("## Failures")
        parts += [f"[{run.run}]({link})\n\n```\n{run.error}\n```" for run, link in said.failures]
    parts += ["## Runs", _table(("run", "state"), [(f"[{run.run}]({link})", run.state)
                                                    for run, link in said.runs])]
    parts += ["## Methods", *said.methods]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(said: Contents) -> list[str]:
    if not said.rows:
        return []
    sets = [(one.role, f"{one.n:,}", "–" if one.people is None else f"{one.people:,}",
             one.support, f"`{one.digest[:16]}`") for one in said.sets]
    heads = ["configuration", "seeds", *(f"{one.role}, n = {one.n:,}" for one in said.sets)]
    rows = [[row.config.label, row.seeds, *row.scores] for row in said.rows]
    if said.has_gap:
        heads.append("gap, points")
        rows = [[*cells, row.gap] for cells, row in zip(rows, said.rows, strict=True)]
    return ["## UAR with 95 % intervals", _table(heads, rows), "## Test sets",
            _table(("set", "pictures", "people", "classes", "digest"), sets)]


def _comparisons(said: Contents) -> list[str]:
    parts = []
    for family in said.families:
        parts.append(f"### Comparison: {family.name} (over {family.over})")
        parts.append(_bullets(family.notes))
        rows = [(pair.split, pair.among, f"{pair.left} − {pair.right}", points(pair.difference),
                 "–" if pair.adjusted is None else f"{pair.adjusted:.3f}",
                 f"**{pair.winner} is better**" if pair.winner else pair.verdict,
                 f"{pair.difference.n[0]:,}", str(pair.difference.seeds)) for pair in family.pairs]
        if rows:
            parts.append(_table(("test set", "among", "difference", "points of UAR", "Holm p",
                                 "verdict", "n", "seeds"), rows))
    return ["## Planned comparisons", *parts] if parts else []


def _gallery(said: Contents) -> list[str]:
    found = said.gallery
    if found is None:
        return []
    lines = [f"## Wrong for every model\n\n{found.total} of {found.of} pictures of {found.split} "
             f"are wrong for all {found.models} models."]
    lines += [_bullets([f"`{one.sample_id}`: {one.label}, called {one.predicted} by {one.votes} "
                        f"of {one.models}" for one, _ in found.shown])]
    return [*lines, _lost(found.lost)]


def _lost(lost: Sequence[str]) -> str:
    return f"Without a picture: {', '.join(lost)}" if lost else ""


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
