"""The report as Markdown, for a terminal or a repository, with tables and links to the figures."""

import re
from collections.abc import Mapping, Sequence

from fer.report.formatting import count
from fer.report.read.run_files import Failure
from fer.report.table_model import Field, Listing
from fer.report.view_model import Gallery, ViewModel

MOST_NAMED = 12  # images without a file


def markdown(view: ViewModel, figures: Sequence[str], key: Mapping[str, str]) -> str:
    """Return the text of report.md.

    Args:
        figures: names in `figures/`.
        key: words that no font of the figures has -> what stands for them.
    """
    parts = [f"# Study {view.study}"]
    if view.drawn:
        parts.append(f"> **{view.drawn}**")
    if view.partial:
        parts.append(f"**Partial report**: {view.done} of {count(len(view.runs), 'run')} done "
                     f"({view.states}).")
    parts += [f"**{view.summary.main}**", view.summary.sizes, "; ".join(view.summary.status)]
    parts += [f"- {line}" for line in view.summary.others]
    parts += [f"*{line}*" for line in view.summary.caveats]
    parts += [f"![{name}](figures/{name}.png)" for name in figures]
    parts += [f"In the figures: {', '.join(f'{sign} {word}' for word, sign in key.items())}"
              ] if key else []
    parts += _results(view) + _comparisons(view)
    if view.wrong:
        parts += _gallery("Misclassified by every model", view.wrong,
                          f"{view.wrong.verb('is', 'are')} misclassified by " + (
                              "the one model" if view.wrong.models == 1 else
                              f"all {view.wrong.models} models"))
    if view.disputed:
        parts += _gallery("Where models disagree", view.disputed,
                          f"{view.disputed.verb('has', 'have')} more than one predicted class")
    if view.problems:
        parts += ["## Warnings", _bullets(view.problems)]
    if view.failures:
        parts.append("## Failures")
        parts += [_failure(one) for one in view.failures]
    if "runs" in view.listings:
        parts += ["## Runs", *_listed(view.listings["runs"])]
    parts += ["## Methods", *view.methods]
    return without_tags("\n\n".join(part for part in parts if part)) + "\n"


def without_tags(text: str) -> str:
    """Return Markdown in which no `<` begins an HTML tag: names of strangers may have them."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _results(view: ViewModel) -> list[str]:
    heads = {"results": "Results", "folds": "Out of fold",
             "humans": "The human ceiling", "sets": "Test sets",
             "metrics": "Other metrics",
             "ensembles": "Ensembles",
             "gaps": "The gap", "robustness": "Effective robustness",
             "parts": "By image type"}
    return [part for name, head in heads.items() if name in view.listings
            for part in (f"## {head}", *_listed(view.listings[name]))]


def _listed(found: Listing) -> list[str]:
    """Return a table with its caption and notes; only the notes if it has no rows."""
    if not found.rows:
        return list(found.notes)
    heads = [" ".join(filter(None, (column.name, f"({column.note})" if column.note else "")))
             for column in found.columns]
    return [found.caption, _table(heads, [[_field(field) for field in row] for row in found.rows]),
            *found.notes]


def _field(field: Field) -> str:
    return f"[{field.text}]({field.link})" if field.link else field.text


def _comparisons(view: ViewModel) -> list[str]:
    parts = []
    for one in view.comparisons:
        family = one.family
        parts += [f"### {family.name}: over {family.over}, {family.ranked} of "
                  f"{len(family.planned)} statistically significant", *_listed(one.pairs)]
    return ["## Planned comparisons", *parts] if parts else []


def _gallery(title: str, found: Gallery | None, words: str) -> list[str]:
    if found is None or not found.total:
        return []
    lines = [f"## {title}\n\nOf {found.of:,} pictures of {found.split}, {found.total} {words}.",
             _bullets([f"`{one.sample_id}`: {one.label}, predicted as {one.predicted} by "
                       f"{one.votes} of {one.models}" for one, _ in found.shown])]
    lost = ", ".join(found.lost[:MOST_NAMED])
    return [*lines, f"Missing image files: {lost}" if lost else ""]


def _failure(one: Failure) -> str:
    runs = ", ".join(f"[{run.run}]({link})" for run, link in one.runs)
    more = f" and {one.more:,} more" if one.more else ""
    return f"{runs}{more}\n\n```\n{one.error}\n```"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
