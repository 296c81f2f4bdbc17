"""Record of a search's trials on disk, `studies/<search>/trials.json`.

Only the driver writes it. The results of a trial are in its run folder; the record maps trials to
runs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fer.atomic_io import write_json
from fer.errors import CallerError
from fer.study.lease import Lease
from fer.untrusted_io import read_object, record

SCHEMA = 1
Key = tuple[int, "int | None"]
TrialState = Literal["waiting", "running", "done", "stopped", "failed"]
ENDED: tuple[TrialState, ...] = ("done", "stopped", "failed")


@dataclass(frozen=True)
class Entry:
    """One trial.

    Attributes:
        number: from 0, in the order of proposal; a finalist has that of the trial whose
            configuration it repeats.
        params: configuration key -> drawn value.
        run: name of the run folder.
        seed: seed of a finalist; None in the search itself.
        state: `waiting` means not begun, or paused.
        score: validation score; None before its first epoch.
        curve: the score after each epoch.
        epochs: maximum number of epochs.
        seconds: time that processes worked on it.
        where: the last node it ran on.
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
        """Its unique key."""
        return self.number, self.seed


class Record:
    """All trials of a search, written to disk as they change.

    Attributes:
        lost: whether another driver took over the search, as after the loss of this one's node;
            nothing is written from then on.
    """

    def __init__(self, folder: Path, lease: Lease | None = None) -> None:
        """Args:
        folder: folder of the search.
        lease: lease of the writer; None for readers.
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
        """Store a trial."""
        self._entries[entry.key] = entry
        if publish:
            self.publish()

    def change(self, key: Key, publish: bool = False, **fields: Any) -> Entry:
        """Update fields of a trial, and return it."""
        entry = replace(self._entries[key], **fields)
        self.put(entry, publish)
        return entry

    def drop(self, key: Key) -> None:
        """Remove a trial without a result."""
        del self._entries[key]

    def publish(self) -> None:
        """Write the file, if this process still holds the search's lease."""
        self.lost |= self._lease is not None and not self._lease.mine()
        if self.lost:
            return
        write_json(self.path, {"schema": SCHEMA, "trials": [asdict(entry) for entry in self]})


def _place(entry: Entry) -> tuple[bool, int, int]:
    return entry.seed is not None, entry.number, entry.seed or 0


def _read(path: Path) -> list[Entry]:
    try:
        content = read_object(path)
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}")
        return [record(Entry, entry) for entry in content["trials"]]
    except (OSError, ValueError, TypeError, KeyError):
        raise CallerError(f"{path}: damaged or written by another version; move it away: the "
                          "search reuses the existing runs") from None


def best_first(entries: list[Entry], higher_is_better: bool) -> list[Entry]:
    """Return the trials with a score, best first; ties by number."""
    scored = [entry for entry in entries if entry.score is not None and entry.state != "failed"]
    sign = -1 if higher_is_better else 1
    return sorted(scored, key=lambda entry: (sign * (entry.score or 0.0), entry.number))
