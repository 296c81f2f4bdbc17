"""What the annotators of a project said, as votes: the input of agreement, merging and review.

The newest labels are merged; agreement is that of the first ones, which nobody was asked to think
over again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer.annotate.label_log import CANT_TELL, NOT_A_FACE, SKIP, Record, standing
from fer.annotate.project import FIRST, Project

NOBODY = -1  # in matrices: no vote


@dataclass(frozen=True)
class Votes:
    """One label of each annotator on each picture, the newest or the first.

    Attributes:
        pictures: those with at least one label, sorted.
        annotators: names, sorted.
        categories: the classes, and `NOT_A_FACE` where somebody said so.
        records: annotator -> picture -> label. Skips are none.
        repeated: annotator -> the first and the second label of each picture shown twice.
    """

    pictures: tuple[str, ...]
    annotators: tuple[str, ...]
    categories: tuple[str, ...]
    records: Mapping[str, Mapping[str, Record]]
    repeated: Mapping[str, Sequence[tuple[str, str]]]

    @property
    def matrix(self) -> NDArray[np.int64]:
        """int64, pictures x annotators: index into `categories`; `NOBODY` without a vote.

        "Can't tell" is no vote.
        """
        index = {name: at for at, name in enumerate(self.categories)}
        found = np.full((len(self.pictures), len(self.annotators)), NOBODY, np.int64)
        for column, name in enumerate(self.annotators):
            for row, picture in enumerate(self.pictures):
                if (one := self.records[name].get(picture)) is not None:
                    found[row, column] = index.get(one.label, NOBODY)
        return found


def votes_of(project: Project, round_name: str = "", first: bool = False) -> Votes:
    """Return the votes of a project, of one round or with later rounds replacing earlier ones.

    Args:
        first: earlier rounds replace later ones.

    Raises:
        CallerError: a damaged log.
    """
    there = set(project.pictures)
    records: dict[str, dict[str, Record]] = {}
    repeated: dict[str, list[tuple[str, str]]] = {}
    for name, log in project.records().items():
        own = [one for one in standing(log, round_name)
               if one.picture in there and one.label != SKIP]
        records[name] = {one.picture: one for one in (reversed(own) if first else own)
                         if one.showing == 1}
        once = {one.picture: one.label for one in own if one.showing == 1 and one.round == FIRST}
        again = {one.picture: one.label for one in own if one.showing == 2}
        repeated[name] = [(once[picture], label) for picture, label in sorted(again.items())
                          if picture in once]
    names = tuple(name for name in sorted(records) if records[name])
    said = {one.label for name in names for one in records[name].values()}
    categories = (*project.settings.classes, *([NOT_A_FACE] if NOT_A_FACE in said else []))
    return Votes(tuple(sorted({picture for name in names for picture in records[name]})), names,
                 categories, {name: records[name] for name in names},
                 {name: repeated[name] for name in names})


def contested(votes: Votes) -> list[str]:
    """Return the pictures on which votes differ, or on which somebody could not tell.

    Those that everybody could not tell are settled.
    """
    found = []
    for picture in votes.pictures:
        labels = [one.label for name in votes.annotators
                  if (one := votes.records[name].get(picture)) is not None]
        if len(set(labels)) > 1:
            found.append(picture)
    return found


def most_named(values: Sequence[str]) -> str:
    """Return the value that most annotators gave; empty for none or a tie."""
    counts = Counter(value for value in values if value).most_common(2)
    if not counts or (len(counts) > 1 and counts[0][1] == counts[1][1]):
        return ""
    return counts[0][0]


def could_not_tell(votes: Votes) -> Counter:
    """Return how often each annotator could not tell."""
    return Counter(name for name in votes.annotators for one in votes.records[name].values()
                   if one.label == CANT_TELL)
