"""Scores of one run with intervals, on each test set and its subgroups, for its model card."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fer.errors import CallerError
from fer.evaluate.intervals import Interval
from fer.evaluate.person_tables import Tables, tabulate, within
from fer.evaluate.predictions import read_predictions
from fer.evaluate.study_scores import StudyScores
from fer.report.subgroups import divide
from fer.study.run_folder import RunFolder
from fer.untrusted_io import read_object

METRICS = ("uar", "accuracy", "macro_f1")
RUN = "run"

Facts = Callable[[str], Mapping[str, str]]  # sample id -> fact -> value


@dataclass(frozen=True)
class Score:
    """The scores on one test set, or on one of its subgroups.

    Attributes:
        split: such as `real/test`.
        digest: of the test set's content.
        fact, value: of the subgroup, such as `mask_type` and `cloth`; empty for the whole set.
        n, people: pictures, and people known by name.
        metrics: `METRICS` and `recall:CLASS`.
    """

    split: str
    digest: str
    fact: str
    value: str
    n: int
    people: int
    metrics: dict[str, Interval]


def score_run(folder: RunFolder, facts: Facts) -> list[Score]:
    """Return the scores of a run on every split it was evaluated on, each before its subgroups.

    Splits that the run was trained or selected on are left out, and so are other checkpoints and
    averages over views.

    Args:
        facts: metadata of a picture.
    """
    own = folder.config.inputs.splits if folder.config.inputs else {}
    found = []
    for file in sorted((folder.path / "results").rglob("*.json")):
        split = file.relative_to(folder.path / "results").with_suffix("").as_posix()
        if "@" in split or split in own:
            continue
        try:
            digest = str(read_object(file)["digest"])
            table = read_predictions(folder.predictions(split))
        except (OSError, ValueError, KeyError) as error:
            raise CallerError(f"{folder.name}: its results on {split} are damaged ({error}); "
                              f"launch/evaluate.py {folder.name} --split {split} makes them again"
                              ) from None
        tables = tabulate({folder.config.seed: table})
        found.append(_score(tables, split, digest, "", ""))
        found += [_score(within(tables, keep), split, digest, fact, value)
                  for fact, value, keep in divide(tables, facts)]
    return found


def _score(tables: Tables, split: str, digest: str, fact: str, value: str) -> Score:
    scores = StudyScores({(RUN, split): tables})
    names = (*METRICS, *(f"recall:{name}" for name in tables.classes))
    every = {name: scores.contrast({RUN: 1}, [(1, split)], name) for name in names}
    metrics = {name: one for name, one in every.items() if one is not None}
    return Score(split, digest, fact, value, tables.n, max(metrics["uar"].people), metrics)
