"""Whether every trial of a search is accounted for. Reads the record only."""

from fer.config.search import Search
from fer.search.best import finalists
from fer.search.trial_record import ENDED, Entry, Record


def repeats_of(record: Record, search: Search) -> list[Entry]:
    """Return the runs of the finalists: each configuration with each seed."""
    return [Entry(entry.number, entry.params, seed=seed) for entry in finalists(record, search)
            for seed in (search.finalists.seeds if search.finalists else ())]


def complete(record: Record, search: Search) -> bool:
    """Whether every trial and every repetition that was asked for has ended."""
    return (search.budget.trials is not None and len(record.searched) >= search.budget.trials
            and all_ended(record, search))


def all_ended(record: Record, search: Search) -> bool:
    """Whether the trials that were begun, and all repetitions of the finalists, have ended."""
    wanted = [*record.searched, *(record.get(entry.key) for entry in repeats_of(record, search))]
    return all(entry is not None and entry.state in ENDED for entry in wanted)
