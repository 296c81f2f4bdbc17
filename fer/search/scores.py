"""Scores of a trial after each of its epochs, from the lines of `metrics.jsonl`. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.untrusted_io import NotRegular, as_object, parse_json, read_bytes


@dataclass
class Score:
    """The metric of the model that a run would keep if it ended now.

    That is the epoch that a run would keep (`train.select`): the newest, or the best so far, the
    earlier one in a tie; a high value in any other epoch does not count.

    Attributes:
        metric: metric of the search.
        select: `train.score` of the run if it keeps the best epoch; empty for the newest.
        in_phase: whether it is the best epoch of the current phase (`train.best_over`).
        value: value of the metric in the selected epoch.
        best: value of the selection criterion, higher is better.
        phase: of the newest epoch.
    """

    metric: str
    select: str
    in_phase: bool = False
    value: float | None = None
    best: float | None = None
    phase: str = ""

    def after(self, facts: Mapping[str, Any]) -> float:
        """Update with an epoch's line and return the score."""
        if not self.select:
            self.value = float(facts[f"val_{self.metric}"])
            return self.value
        if self.in_phase and facts["phase"] != self.phase:
            self.best, self.phase = None, facts["phase"]
        chosen_by = float(facts[f"val_{self.select}"])
        chosen_by = -chosen_by if self.select == "loss" else chosen_by
        if self.best is None or chosen_by > self.best:
            self.best, self.value = chosen_by, float(facts[f"val_{self.metric}"])
        assert self.value is not None
        return self.value


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a run's `metrics.jsonl`; none if it has not begun."""
    try:
        text = read_bytes(folder / "metrics.jsonl").decode("utf-8", "replace")
    except (FileNotFoundError, NotRegular):
        return []
    return list(_parsed(text.splitlines()))


def _parsed(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            yield as_object(parse_json(line), "a line")
        except ValueError:  # truncated by a crash: the run writes it again
            return
