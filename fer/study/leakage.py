"""People and pictures in both training and test data, before anything is trained.

The same people in a data set and its masked copies, and the same picture anywhere, are refused
unless the test split is explicitly accepted. Equal names in other sets need not be the same person:
they are reported. `data.py verify` also finds pictures that were saved again.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from fer.config.run import Data, RunConfig
from fer.data.splits import original_of
from fer.errors import CallerError
from fer.study.inputs import InputDigests

KINDS = ("people", "pictures", "names")


@dataclass(frozen=True)
class Overlap:
    """What a test split has in common with a training set: `shared` of `total`.

    Attributes:
        kind: people of one family of sets, equal files, or people of one name in other sets.
    """

    split: str
    train: str
    shared: int
    total: int
    kind: Literal["people", "pictures", "names"] = "people"

    def __str__(self) -> str:
        of = f"{self.shared} of the {self.total}"
        if self.kind == "pictures":
            return f"{of} pictures of {self.split} are in {self.train} too, byte for byte"
        if self.kind == "names":
            return (f"{of} people of {self.split} have the name of a person of {self.train}: if "
                    "they are the same people, results on it are biased upwards")
        return f"{of} people of {self.split} are in {self.train} too"


def find_overlaps(configs: Iterable[RunConfig], splits: Iterable[str], data: Data,
                  contents: InputDigests, kinds: Collection[str] = KINDS) -> list[Overlap]:
    """Return what test splits have in common with the training sets of some runs.

    Args:
        splits: splits on which the runs are evaluated.
        data: data sets of those splits.
        contents: digests of the data on disk.
        kinds: of overlap; `pictures` reads files whose digests are not cached.
    """
    trained = {(name, config.data.resplit): config.data
               for config in configs for name in config.train_sets}
    found = []
    for split in splits:
        if split.endswith("/val"):  # used for model selection only
            continue
        for (name, _), own in sorted(trained.items(), key=lambda entry: entry[0][0]):
            family = original_of(name, own) == original_of(split.split("/")[0], data)
            kind: Literal["people", "names"] = "people" if family else "names"
            train = f"{name}/train"
            if kind in kinds:
                known = contents.people(train, own) | contents.people(f"{name}/val", own)
                people = contents.people(split, data)
                found.append(Overlap(split, train, len(people & known), len(people), kind))
            if "pictures" in kinds:
                there = contents.files(train, own) | contents.files(f"{name}/val", own)
                files = contents.files(split, data)
                found.append(Overlap(split, train, len(files & there), len(files), "pictures"))
    return [one for one in found if one.shared]


def refused(found: Iterable[Overlap], accepted: Collection[str]) -> list[Overlap]:
    """Return the overlaps of known people or equal pictures on splits that nobody accepted."""
    return [one for one in found if one.kind != "names" and one.split not in accepted]


def refuse_overlaps(found: Iterable[Overlap], accepted: Iterable[str]) -> list[str]:
    """Return a line for each overlap that is accepted, or only one of names; refuse the others.

    Raises:
        CallerError: names the splits and how to accept them.
    """
    names = set(accepted)
    found = list(found)
    if bad := refused(found, names):
        splits = sorted({one.split for one in bad} | names)
        what = " and ".join(dict.fromkeys(one.kind for one in bad))
        raise CallerError(f"{what} in both training and test data: {'; '.join(map(str, bad))}; "
                          f"results would be biased upwards. To evaluate anyway, name the test "
                          f"splits: data.shared_people='[{', '.join(splits)}]'")
    return [str(one) if one.kind == "names" else
            f"{one}: accepted by data.shared_people; results on it are biased upwards"
            for one in found]
