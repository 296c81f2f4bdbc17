"""The trials of a search on disk, `studies/<search>/trials.json`, and whether all have ended.

One writer: the driver. What a trial did is in its run folder; here is which run each one is.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fer.atomic_io import read_json, write_json
from fer.errors import CallerError
from fer.study.lease import Lease

SCHEMA = 1
Key = tuple[int, "int | None"]
TrialState = Literal["waiting", "running", "done", "stopped", "failed"]
ENDED: tuple[TrialState, ...] = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Entry:
    """One trial.

    Attributes:
        number: from 0, in the order in which they were proposed; a finalist has that of the trial
            whose configuration it repeats.
        params: configuration key -> the value that was drawn.
        run: name of the run folder.
        seed: of a finalist; None in the search itself.
        state: `waiting` is not begun yet, or paused.
        score: what it has reached on validation; None before its first epoch.
        curve: the score after each epoch.
        epochs: the most that it would train.
        seconds: that processes worked on it.
        where: the node that it ended on.
    """

    number: int
    params: dict[str, Any]
    run: str = ""
    run_id: str = ""
    config_id: str = ""
    seed: int | None = None
    state: TrialState = "waiting"
    score: float | None = None
    curve: list[float] = field(default_factory=list)
    epochs: int = 0
    seconds: float = 0.0
    where: str = ""
    error: str = ""

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.number, self.seed


class Record:
    """All trials of a search, kept on disk as they change.

    Attributes:
        lost: another driver took the search over, as after the loss of this one's node; nothing
            is written from then on.
    """

    def __init__(self, folder: Path, lease: Lease | None = None) -> None:
        """Args:
        folder: of the search.
        lease: of who writes; None for who reads.
        """
        self.path, self._lease, self.lost = folder / "trials.json", lease, False
        self._entries: dict[Key, Entry] = {}
        if self.path.is_file():
            self._entries = {entry.key: entry for entry in _read(self.path)}

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries.values(), key=_place))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        """Return a trial, if it was proposed."""
        return self._entries.get(key)

    @property
    def searched(self) -> list[Entry]:
        """The trials of the search itself, without the finalists."""
        return [entry for entry in self if entry.seed is None]

    def put(self, entry: Entry, publish: bool = True) -> None:
        """Keep a trial as it is now."""
        self._entries[entry.key] = entry
        if publish:
            self.publish()

    def change(self, key: Key, publish: bool = False, **fields: Any) -> Entry:
        """Keep some new facts of a trial, and return it."""
        entry = replace(self._entries[key], **fields)
        self.put(entry, publish)
        return entry

    def drop(self, key: Key) -> None:
        """Forget a trial that came to nothing."""
        del self._entries[key]

    def publish(self) -> None:
        """Write the file, if the search is still this process's."""
        self.lost |= self._lease is not None and not self._lease.mine()
        if self.lost:
            return
        write_json(self.path, {"schema": SCHEMA, "trials": [asdict(entry) for entry in self]})


def _place(entry: Entry) -> tuple[bool, int, int]:
    return entry.seed is not None, entry.number, entry.seed or 0


def _read(path: Path) -> list[Entry]:
    try:
        content = read_json(path)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        return [Entry(**entry) for entry in content["trials"]]
    except (ValueError, TypeError, KeyError):
        raise CallerError(f"{path}: damaged or written by another version; move it away: the runs "
                          "stay, and the search finds them again") from None


def best_first(entries: list[Entry], higher_is_better: bool) -> list[Entry]:
    """Return the trials that have a score, best first; in a tie the earlier one."""
    scored = [entry for entry in entries if entry.score is not None and entry.state != "failed"]
    sign = -1 if higher_is_better else 1
    return sorted(scored, key=lambda entry: (sign * (entry.score or 0.0), entry.number))






