"""What one annotator labels next, and what a label, a skip or an undo does: no web in here."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fer.annotate.label_log import ANSWERS, SKIP, LabelLog, Record, standing
from fer.annotate.presentation import Item, presentation
from fer.annotate.project import FIRST, Project, Round
from fer.data.faces.boxes import is_box
from fer.errors import CallerError

RECENT = 50  # labels that the pace is the median of
MOST_TAGS, LONGEST_TAG = 8, 40
LONGEST_LOOK = 3600.0  # seconds; a longer one is a break


class Stale(Exception):
    """Somebody else (another tab) has labelled since the page was shown."""


@dataclass(frozen=True)
class Answer:
    """An annotator's answer on one picture; attributes as in `Record`."""

    label: str
    mask_type: str = ""
    pose: str = ""
    tags: tuple[str, ...] = ()
    seconds: float = 0.0
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where an annotator is in a round.

    Attributes:
        item: what to label now; None when all is done.
        next: what probably follows, for loading it ahead.
        before: the answer that an undo has just taken back.
        done, total, skipped: items labelled, all items, and items skipped for now.
        pace: seconds an item, the median of recent ones; None before the first.
        can_undo: whether there is something to take back.
    """

    item: Item | None
    next: Item | None
    before: Record | None
    done: int
    total: int
    skipped: int
    pace: float | None
    can_undo: bool


def place_of(items: Sequence[Item], records: Sequence[Record], round_name: str) -> Place:
    """Return where an annotator is.

    Skipped items return after all others, in the order in which they were skipped.
    """
    active = standing(records, round_name)
    last = {Item(one.picture, one.showing): one for one in active}  # the newest counts
    done = {item for item, one in last.items() if one.label != SKIP}
    waiting = [item for item in items if item not in last]
    skipped = sorted((item for item in items if item in last and item not in done),
                     key=lambda item: last[item].number)
    queue, before = [*waiting, *skipped], None
    if records and records[-1].undoes:
        taken = next((one for one in records if one.number == records[-1].undoes), None)
        first = [item for item in queue if taken is not None
                 and item == Item(taken.picture, taken.showing)]
        if first:
            before = taken
            queue = [*first, *(item for item in queue if item not in first)]
    labelled = [one.seconds for one in active if one.label != SKIP and one.seconds > 0]
    return Place(queue[0] if queue else None, queue[1] if len(queue) > 1 else None, before,
                 sum(item in done for item in items), len(items), len(skipped),
                 median(labelled[-RECENT:]) if labelled else None, bool(active))


class Labelling:
    """The labelling of one annotator in one round: reads and appends to the annotator's log."""

    def __init__(self, project: Project, annotator: str, one: Round) -> None:
        settings = project.settings
        self.project, self.annotator, self.round = project, annotator, one
        self.log = LabelLog(project.log_path(annotator))
        self.items = presentation(project.pictures_in(one), annotator, one.name, settings.seed,
                                  settings.repeated if one.name == FIRST else 0.0)
        self._lock = threading.Lock()

    def place(self) -> tuple[Place, int]:
        """Return where the annotator is, and the revision of the log."""
        with self._lock:
            return self._place(), self.log.revision

    def _place(self) -> Place:
        return place_of(self.items, self.log.records, self.round.name)

    def own_box(self, picture: str) -> tuple[float, ...]:
        """Return the annotator's last box in a picture, of any round; empty if there is none."""
        return next((one.box for one in reversed(standing(self.log.records))
                     if one.picture == picture and one.box), ())

    def label(self, revision: int, picture: str, answer: Answer) -> None:
        """Append an answer on the current picture; it is on disk when this returns.

        Args:
            revision: of the log when the picture was shown.
            picture: that was shown.

        Raises:
            Stale: the log has another revision or another current picture.
            CallerError: an answer that cannot be given.
            OSError: the disk refuses.
        """
        self._check(answer)
        with self._lock:
            item = self._place().item
            if revision != self.log.revision or item is None or item.picture != picture:
                raise Stale
            self.log.append(Record(
                self.log.revision + 1, self.round.name, picture, item.showing, answer.label,
                answer.mask_type, answer.pose, tuple(dict.fromkeys(answer.tags)),
                round(min(max(answer.seconds, 0.0), LONGEST_LOOK), 2),
                box=tuple(round(edge, 1) for edge in answer.box)))

    def undo(self, revision: int) -> None:
        """Take back the last answer of this round.

        Raises:
            Stale: as in `label`.
            CallerError: there is none.
        """
        with self._lock:
            if revision != self.log.revision:
                raise Stale
            active = standing(self.log.records, self.round.name)
            if not active:
                raise CallerError("nothing to undo in this round")
            self.log.append(Record(self.log.revision + 1, self.round.name,
                                   undoes=active[-1].number))

    def _check(self, answer: Answer) -> None:
        settings = self.project.settings
        known: list[tuple[str, str, Sequence[Any]]] = [
            ("label", answer.label, (*settings.classes, *ANSWERS)),
            ("mask type", answer.mask_type, ("", *settings.mask_types)),
            ("pose", answer.pose, ("", *settings.poses))]
        for name, value, valid in known:
            if value not in valid:
                there = ", ".join(filter(None, valid))
                raise CallerError(f"no {name} '{value}'; there are: {there}")
        if answer.box and not (settings.boxes and is_box(answer.box)):
            raise CallerError("a box has a left, a top, a right and a bottom edge, in pixels"
                              if settings.boxes else "boxes are not asked for")
        if len(answer.tags) > MOST_TAGS or any(
                not 0 < len(tag) <= LONGEST_TAG or not tag.isprintable() or ";" in tag
                for tag in answer.tags):
            raise CallerError(f"at most {MOST_TAGS} tags of at most {LONGEST_TAG} letters, without "
                              "semicolons")
