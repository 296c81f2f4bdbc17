"""People in both training and test data: refused unless the test split is explicitly accepted.

Only within a data set and its masked copies: elsewhere equal names need not be the same person.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from fer.config.run import Data, RunConfig
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.study.inputs import InputDigests


@dataclass(frozen=True)
class Shared:
    """Overlap of people between a test split and a training set."""

    split: str
    train: str
    shared: int
    people: int

    def __str__(self) -> str:
        return f"{self.shared} of the {self.people} people of {self.split} are in {self.train} too"


def shared_people(configs: Iterable[RunConfig], splits: Iterable[str], data: Data,
                  contents: InputDigests) -> list[Shared]:
    """Return the test splits that share people with the training sets of some runs.

    Args:
        splits: splits on which the runs are evaluated.
        data: data sets of those splits.
        contents: digests of the data on disk.
    """
    trained = {(name, config.data.resplit): config.data
               for config in configs for name in config.train_sets}
    found = []
    for split in splits:
        for (name, _), own in sorted(trained.items(), key=lambda entry: entry[0][0]):
            if original_of(name, own) != original_of(split.split("/")[0], data):
                continue
            if split.endswith("/val"):  # used for model selection only
                continue
            known = contents.people(f"{name}/train", own) | contents.people(f"{name}/val", own)
            people = contents.people(split, data)
            if both := len(people & known):
                found.append(Shared(split, f"{name}/train", both, len(people)))
    return found


def refuse_shared_people(found: Iterable[Shared], accepted: Iterable[str]) -> list[str]:
    """Return a warning for each accepted test split, and refuse the others.

    Raises:
        CallerError: names the splits and how to accept them.
    """
    names = set(accepted)
    refused = [one for one in found if one.split not in names]
    if refused:
        splits = sorted({one.split for one in refused} | names)
        raise CallerError(f"people in both training and test data: {'; '.join(map(str, refused))}; "
                          f"results would be biased upwards. To evaluate anyway, name the test "
                          f"splits: data.shared_people='[{', '.join(splits)}]'")
    return [f"{one}: accepted by data.shared_people; results on it are biased upwards"
            for one in found]
