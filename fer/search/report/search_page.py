"""The page of a search with its table and figures, built from disk without Ray or torch.

    studies/<search>/report/index.html, trials.csv, figures/
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from fer.atomic_io import replacing, write_text
from fer.config.search import Search
from fer.plain_text import spreadsheet_cell
from fer.report.formatting import count
from fer.report.page.write import render
from fer.report.table_model import Column, Field, Listing, listing, number, text
from fer.search.best import Best, best_of
from fer.search.report.importance import Importances, Saved, importances, neighbours, saved
from fer.search.report.search_figures import coordinates_figure, curves_figure, importance_figure
from fer.search.trial_record import Entry, Record, best_first
from fer.search.trial_runs import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[bool], "Figure"]


@dataclass(frozen=True)
class Said:
    """The content of the page."""

    search: str
    answer: str
    sizes: str
    caveats: list[str]
    best: Listing
    nearest: Listing
    trials: Listing
    importance: str
    failures: list[Entry]
    drawn: str  # what is said of drawings; empty without any


def report_search(folder: Path, search: Search, record: Record, drawn: str) -> Path:
    """Write the report of a search and return its page.

    Args:
        drawn: what the page says of drawings.
    """
    entries = record.searched
    best = best_of(record, search)
    weights = importances(search, entries)
    view = _view(search, record, entries, best, weights, drawn)
    out = folder / "report"
    out.mkdir(exist_ok=True)
    drawings = _figures(search, entries, best.trial, weights, out / "figures") if best else {}
    _write_csv(search, list(record), out / "trials.csv")
    write_text(out / "index.html", render("search.html", view=view, drawings=drawings))
    return out / "index.html"


def _view(search: Search, record: Record, entries: list[Entry], best: Best | None,
          weights: Importances | None, drawn: str) -> Said:
    kept = saved(entries)
    ranked = best_first(entries, search.higher_is_better)
    of_best = next((entry for entry in entries if best and entry.number == best.trial), None)
    return Said(
        search.search, _answer(search, best), _sizes(entries, kept), _caveats(search, best),
        _table(search, "Best trials by their score in the search", ranked[:10]),
        _nearest(search, ranked, of_best),
        _table(search, "All trials (finalists have a seed)", list(record)),
        _importance(weights), [entry for entry in record if entry.state == "failed"], drawn)


def _answer(search: Search, best: Best | None) -> str:
    if best is None:
        return f"No trial of {search.search} has a score yet."
    params = ", ".join(f"{key} = {shown(value)}" for key, value in best.params.items())
    over = f", mean over {count(len(best.scores), 'seed')}" if len(best.scores) > 1 else ""
    return f"{search.metric} {best.score:.3f} on validation{over}, with {params}."


def _sizes(entries: list[Entry], kept: Saved) -> str:
    share = f", {100 * (1 - kept.trained / kept.whole):.0f} % saved" if kept.whole else ""
    return (f"{count(len(entries), 'trial')}, {kept.stopped} stopped early: {kept.trained:,} of "
            f"{kept.whole:,} epochs trained{share}")


def _caveats(search: Search, best: Best | None) -> list[str]:
    if best is None:
        return []
    found = ["Selected on synthetic validation only; no test images were used."]
    if len(best.scores) == 1:
        found.append("The best of many noisy scores is optimistically biased: repeat it with "
                     "more seeds (finalists) before relying on it.")
    else:
        spread = max(best.scores) - min(best.scores)
        found.append(f"The scores of its seeds span {spread:.3f}; a smaller difference to the "
                     "next configuration means nothing.")
    return found


def _table(search: Search, caption: str, entries: list[Entry]) -> Listing:
    columns = [Column("trial", number=True), Column("state"), Column("seed", number=True),
               Column("epochs", number=True), Column(search.metric, "validation", number=True),
               *(Column(key, number=domain.choice is None) for key, domain in
                 search.space.items()), Column("run")]
    return listing(caption, columns, [[
        number(entry.number), text(entry.state), number(entry.seed), number(len(entry.curve)),
        number(entry.score, 4), *(_value(entry, key) for key in search.space),
        Field(entry.run_id, link=f"../../../runs/{entry.run}/" if entry.run else "")]
        for entry in entries])


def _value(entry: Entry, key: str) -> Field:
    value = entry.params.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Field(shown(value), float(value))
    return Field("–" if value is None else shown(value))


def _nearest(search: Search, ranked: list[Entry], best: Entry | None) -> Listing:
    found = neighbours(search, ranked, best) if best else []
    columns = [Column("trial", number=True), Column("distance", number=True),
               Column(search.metric, "validation", number=True),
               *(Column(key, number=domain.choice is None)
                 for key, domain in search.space.items())]
    own = [[Field(f"{best.number}, the best", best.number), number(0.0), number(best.score, 4),
            *(_value(best, key) for key in search.space)]] if best else []
    rows = [[number(entry.number), number(far), number(entry.score, 4),
             *(_value(entry, key) for key in search.space)] for entry, far in found]
    return listing("Trials nearest to the best one; 1 is the full range of one parameter", columns,
                   own + rows)


def _importance(weights: Importances | None) -> str:
    if weights is None:
        return "Fewer than ten trials have a score: too few to estimate parameter importance."
    worth = ("so the importances are meaningless" if weights.r2 <= 0 else
             "so only the order is meaningful" if weights.r2 < 0.5 else "a fair fit")
    return (f"Permutation importance in a random forest fitted to {count(weights.n, 'trial')}. "
            f"The out-of-bag R² is {signed(weights.r2)}, {worth}. Trials that were stopped early "
            "count with their score at that point.")


def signed(value: float) -> str:
    """Return a number with a true minus sign."""
    return f"{value:.2f}".replace("-", "−")


def _figures(search: Search, entries: list[Entry], best: int, weights: Importances | None,
             folder: Path) -> dict[str, tuple[str, str]]:
    from fer.report.figures.canvas import inline, save, svg

    drawn: dict[str, tuple[str, Draw]] = {
        "coordinates": ("Parallel coordinates of all trials",
                        lambda narrow: coordinates_figure(search, entries, best, narrow)),
        "curves": ("Score by epoch", lambda narrow: curves_figure(search, entries, best, narrow))}
    if weights is not None and weights.r2 > 0:
        drawn["importance"] = ("Importance of each parameter",
                               lambda narrow: importance_figure(weights, narrow))
    return {name: (inline(save(draw(False), folder, name), title),
                   inline(svg(draw(True), f"{name}-narrow"), title))
            for name, (title, draw) in drawn.items()}


def _write_csv(search: Search, entries: list[Entry], path: Path) -> None:
    rows = [{"search": search.search, "trial": entry.number, "seed": entry.seed, "run": entry.run,
             "run_id": entry.run_id, "config_id": entry.config_id, "state": entry.state,
             "epochs": len(entry.curve), search.metric: entry.score,
             **{key: _plain(entry.params.get(key)) for key in search.space}} for entry in entries]
    frame = pd.DataFrame(rows).astype({"seed": "Int64"})
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return spreadsheet_cell(value)
    return json.dumps(value) if isinstance(value, dict | list) else value
