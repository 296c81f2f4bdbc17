"""People who are trained on and tested on: refused, unless a test split is named as accepted.

Only within a set and its twins: elsewhere equal names need not be equal people.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fer.config.run import Data, RunConfig
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.study.inputs import InputDigests


@dataclass(frozen=True)
class Shared:
    """Some people of a test split are in a training set too."""

    split: str
    train: str
    shared: int
    people: int

    def __str__(self) -> str:
        return f"{self.shared} of the {self.people} people of {self.split} are in {self.train} too"


def shared_people(configs: Iterable[RunConfig], splits: Iterable[str], data: Data,
                  contents: InputDigests) -> list[Shared]:
    """Return which test splits have people of the training sets of some runs.

    Args:
        splits: that the runs are evaluated on.
        data: in which those are.
        contents: of the disk.
    """
    trained = {(name, config.data.resplit): config.data
               for config in configs for name in config.train_sets}
    found = []
    for split in splits:
        for (name, _), own in sorted(trained.items(), key=lambda entry: entry[0][0]):
            if original_of(name, own) != original_of(split.split("/")[0], data):
                continue
            if split.endswith("/val"):  # selects, and measures nothing
                continue
            known = contents.people(f"{name}/train", own) | contents.people(f"{name}/val", own)
            people = contents.people(split, data)
            if both := len(people & known):
                found.append(Shared(split, f"{name}/train", both, len(people)))
    return found


def refuse_shared_people(found: Iterable[Shared], accepted: Iterable[str]) -> list[str]:
    """Return a line for each test split that is accepted by name, and refuse the others.

    Raises:
        CallerError: names the splits and how to accept them.
    """
    names = set(accepted)
    refused = [one for one in found if one.split not in names]
    if refused:
        splits = sorted({one.split for one in refused} | names)
        raise CallerError(f"people trained on and tested on: {'; '.join(map(str, refused))}; the "
                          f"results would be too good. To measure so nevertheless, name the test "
                          f"splits: data.shared_people='[{', '.join(splits)}]'")
    return [f"{one}: accepted by data.shared_people; results on it are too good" for one in found]
