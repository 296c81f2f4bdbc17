"""Test and validation sets whose people are unknown: no person in their statistics, and a warning.

Older runs stored people that were guessed from file names; where the data on disk say that nobody
is known, the stored names are not used.
"""

from collections.abc import Collection
from dataclasses import replace

from fer.data.people import people_warning
from fer.evaluate.predictions import Predictions
from fer.report.read.load_results import LoadedResults


def without_guessed_people(found: LoadedResults, unknown: Collection[str]) -> LoadedResults:
    """Return results without the people of `unknown` splits, and with a warning for each split.

    Args:
        unknown: splits whose people are unknown on disk, such as `real/test`.
    """
    blank: dict[int, list[str]] = {}  # one list for tables of equal size, which report on one set

    def stripped(table: Predictions) -> Predictions:
        size = len(table)
        return replace(table, identities=blank.setdefault(size, [""] * size))

    measured = {key: replace(one, predictions=stripped(one.predictions))
                if key[1] in unknown and one.predictions is not None else one
                for key, one in found.measured.items()}
    lines: dict[str, str] = {}
    for (_, split), one in measured.items():
        if split not in lines and one.predictions is not None:
            lines[split] = people_warning(split, one.predictions.identities)
    for run in found.runs:
        split = f"{run.train_on}/val"
        if split in unknown or (split not in lines and run.run in found.validation):
            table = found.validation.get(run.run)
            lines[split] = people_warning(split, [""] if split in unknown or table is None
                                          else table.identities)
    problems = (*filter(None, lines.values()), *found.problems)
    return replace(found, measured=measured, problems=problems)
