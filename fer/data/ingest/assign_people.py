"""The people of incoming pictures: as the user says (`--people`), else by the names and the table.

The rules are in `fer.data.people`. Nothing is guessed: where neither says who is in the pictures,
the people are unknown.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from fer.data.ingest.archive import ARCHIVES
from fer.data.ingest.dataset_writer import Incoming, Item
from fer.data.layout import judge_people
from fer.data.people import People, person_of
from fer.errors import CallerError

FOLDER = "folder"  # one folder per person
SAID = ("names", FOLDER, "unknown")  # anything else is a regular expression


def assign_people(incoming: Incoming, how: str = "") -> Incoming:
    """Return what comes in with its people, and with the rule of each split.

    Args:
        incoming: the readers' result; with `folder`, it names the people already.
        how: `names` (what is before `_NNNN` in a file name), `folder`, `unknown`, a regular
            expression on file names whose group `person`, first group or whole match is the
            person, or empty: LFW's names if a split follows their pattern throughout, else the
            identities of the table, else unknown.

    Raises:
        CallerError: not a regular expression, or a picture without a person by it.
    """
    if not how and incoming.digest in {archive.sha256 for archive in ARCHIVES.values()}:
        how = "names"
    if how == "unknown":
        items = [_of(item, "") for item in incoming.items]
    elif how and how not in SAID:
        items = _by_pattern(incoming.items, how)
    else:
        items = list(incoming.items)
    by_split: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_split[item.split].append(item)
    rules: dict[str, People] = {split: _rule(its, how) for split, its in by_split.items()}
    return replace(incoming, items=items, people=rules)


def identities(items: Sequence[Item], rule: People) -> list[str]:
    """Return the person of each picture of a split, as it will be read; empty if unknown."""
    return ["" if rule == "unknown" else
            item.facts.identity or (person_of(item.name) if rule == "names" else "")
            for item in items]


def _rule(items: Sequence[Item], how: str) -> People:
    if how == "unknown":
        return "unknown"
    if how == "names":
        for item in items:
            if not (item.facts.identity or person_of(item.name)):
                raise CallerError(f"--people names: {item.said} is not called PERSON_NNNN; give a "
                                  "regular expression, or --people unknown")
        return "names"
    if how:
        return "table"
    return judge_people((item.name for item in items), len({item.cls for item in items}),
                        [item.facts.identity for item in items])


def _by_pattern(items: Sequence[Item], pattern: str) -> list[Item]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise CallerError(f"--people {pattern}: neither one of {', '.join(SAID)} nor a regular "
                          f"expression ({error})") from None
    group = "person" if "person" in expression.groupindex else min(expression.groups, 1)
    found = []
    for item in items:
        match = expression.search(item.name)
        if match is None or not match[group]:
            raise CallerError(f"--people {pattern}: no person in the file name of {item.said}")
        found.append(_of(item, match[group]))
    return found


def _of(item: Item, person: str) -> Item:
    return replace(item, facts=replace(item.facts, identity=person))
