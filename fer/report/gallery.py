"""Pictures that every model gets wrong: which they are, and small copies of them for the page."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.data.audit import thumbnail
from fer.report.collect import Measured

SHOWN = 24

Pictures = Callable[[str], Path | None]


@dataclass(frozen=True)
class Wrong:
    """One picture that all models get wrong: `votes` of the `models` said `predicted`."""

    sample_id: str
    label: str
    predicted: str
    votes: int
    models: int


def wrong_for_all(measured: Sequence[Measured]) -> tuple[list[Wrong], int]:
    """Return the pictures that all of `measured` (one test set) get wrong, and how many models.

    The most agreed-upon mistakes come first. Models without predictions are left out.
    """
    tables = [one.predictions for one in measured if one.predictions is not None]
    if not tables:
        return [], 0
    first = tables[0]
    votes = np.empty((len(tables), len(first)), np.int64)
    for row, table in zip(votes, tables, strict=True):
        at = {name: index for index, name in enumerate(table.sample_ids)}
        row[:] = table.predicted[[at[name] for name in first.sample_ids]]
    found = []
    for index in np.flatnonzero((votes != first.labels).all(axis=0)):
        predicted, agreed = Counter(votes[:, index].tolist()).most_common(1)[0]
        found.append(Wrong(first.sample_ids[index], first.classes[first.labels[index]],
                           first.classes[predicted], agreed, len(tables)))
    return sorted(found, key=lambda one: (-one.votes, one.sample_id)), len(tables)


def embed(found: Sequence[Wrong], pictures: Pictures) -> tuple[list[tuple[Wrong, str]], list[str]]:
    """Return up to `SHOWN` pictures with their data URIs, and the ids that have no picture."""
    shown: list[tuple[Wrong, str]] = []
    lost: list[str] = []
    for one in found:
        if len(shown) == SHOWN:
            break
        path = pictures(one.sample_id)
        data = None if path is None else thumbnail(path)
        if data is None:
            lost.append(one.sample_id)
        else:
            shown.append((one, data))
    return shown, lost
