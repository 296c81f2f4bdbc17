"""The report as Markdown, for a terminal or a repository: tables and links to the figures."""

from collections.abc import Sequence

from fer.report.failures import Failure
from fer.report.summary import DRAWINGS
from fer.report.table_model import Field, Listing
from fer.report.view_model import Gallery, ViewModel

MOST_NAMED = 12  # pictures that are not here


def markdown(said: ViewModel, figures: Sequence[str]) -> str:
    """Return the text of report.md; `figures` are names in `figures/`."""
    parts = [f"# Study {said.study}"]
    if said.drawn:
        parts.append(f"> **{DRAWINGS}**")
    if said.partial:
        parts.append(f"**Partial report**: {said.done} of {len(said.runs)} runs are done "
                     f"({said.states}).")
    parts += [f"**{said.summary.main}**", said.summary.sizes]
    parts += [f"- {line}" for line in said.summary.others]
    parts += [f"*{line}*" for line in said.summary.caveats]
    parts += [f"![{name}](figures/{name}.png)" for name in figures]
    parts += _results(said) + _comparisons(said)
    if said.wrong:
        parts += _gallery("Wrong for every model", said.wrong,
                          f"{said.wrong.verb('is', 'are')} wrong for all {said.wrong.models} "
                          "models")
    if said.disputed:
        parts += _gallery("Where models disagree", said.disputed,
                          f"{said.disputed.verb('has', 'have')} more than one answer")
    if said.problems:
        parts += ["## What is missing or damaged", _bullets(said.problems)]
    if said.failures:
        parts.append("## Failures")
        parts += [_failure(one) for one in said.failures]
    if "runs" in said.listings:
        parts += ["## Runs", *_listed(said.listings["runs"])]
    parts += ["## Methods", *said.methods]
    return "\n\n".join(part for part in parts if part) + "\n"


def _results(said: ViewModel) -> list[str]:
    heads = {"results": "Results", "sets": "Test sets", "metrics": "Other metrics",
             "gaps": "The gap", "robustness": "Effective robustness",
             "parts": "By kind of picture"}
    return [part for name, head in heads.items() if name in said.listings
            for part in (f"## {head}", *_listed(said.listings[name]))]


def _listed(found: Listing) -> list[str]:
    """Return a table with its caption and notes; nothing of one without rows but its notes."""
    if not found.rows:
        return list(found.notes)
    heads = [" ".join(filter(None, (column.name, f"({column.note})" if column.note else "")))
             for column in found.columns]
    return [found.caption, _table(heads, [[_field(field) for field in row] for row in found.rows]),
            *found.notes]


def _field(field: Field) -> str:
    return f"[{field.text}]({field.link})" if field.link else field.text


def _comparisons(said: ViewModel) -> list[str]:
    parts = []
    for one in said.comparisons:
        family = one.family
        parts += [f"### {family.name}: over {family.over}, {family.ranked} of "
                  f"{len(family.pairs)} outside the noise{family.of_whom}", *_listed(one.pairs),
                  *_listed(one.pooled), *_listed(one.omnibus)]
    return ["## Planned comparisons", *parts] if parts else []


def _gallery(title: str, found: Gallery | None, words: str) -> list[str]:
    if found is None or not found.total:
        return []
    lines = [f"## {title}\n\nOf {found.of:,} pictures of {found.split}, {found.total} {words}.",
             _bullets([f"`{one.sample_id}`: {one.label}, called {one.predicted} by {one.votes} "
                       f"of {one.models}" for one, _ in found.shown])]
    lost = ", ".join(found.lost[:MOST_NAMED])
    return [*lines, f"Without a picture: {lost}" if lost else ""]


def _failure(one: Failure) -> str:
    runs = ", ".join(f"[{run.run}]({link})" for run, link in one.runs)
    more = f" and {one.more:,} more" if one.more else ""
    return f"{runs}{more}\n\n```\n{one.error}\n```"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
