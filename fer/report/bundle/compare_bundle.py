"""A bundle beside this store: which runs of the same ids reproduce, and which do not.

The two runs of an id are compared on the same pictures, as two seeds of one configuration would
be: the difference in UAR, with the people left out in turn and the seed spread pooled over the
bundle (`fer.evaluate.intervals`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from fer.evaluate.intervals import Interval
from fer.evaluate.metrics import confusion
from fer.evaluate.person_tables import tabulate
from fer.evaluate.predictions import DamagedFile, Predictions, read_predictions
from fer.evaluate.significance import NO_INTERVAL
from fer.evaluate.study_scores import StudyScores
from fer.report.bundle.manifest import BundledRun
from fer.report.bundle.read_bundle import Bundle
from fer.report.bundle.write_bundle import environment_of, json_object
from fer.report.formatting import count, points
from fer.study.run_folder import RunFolder, Store

Verdict = Literal["equal", "within the interval", "outside", "missing"]
VERDICTS: tuple[Verdict, ...] = ("outside", "missing", "within the interval", "equal")
MOST_LINES = 100  # of one verdict
HERE, THERE = "here ", "bundle "  # before a run's name, among the configurations


@dataclass(frozen=True)
class Reproduced:
    """One run of a bundle on one test set.

    Attributes:
        difference: UAR of this store minus that of the bundle; None where one is missing.
        there, here: both UARs.
        why: why the run is missing, or has no interval.
    """

    run: str
    split: str
    verdict: Verdict
    there: float | None = None
    here: float | None = None
    difference: Interval | None = None
    why: str = ""

    def __str__(self) -> str:
        text = f"{self.verdict:19}  {self.split}  {self.run}"
        if self.there is not None and self.here is not None:
            text += f": {self.there:.3f} in the bundle, {self.here:.3f} here"
            text += f", {points(self.difference)} points" if self.difference else ""
        return text + (f": {self.why}" if self.why else "")


def report_comparison(file: Path, store: Store, console: Console) -> bool:
    """Print the comparison with a bundle; return whether every run of it reproduces."""
    bundle = Bundle(file)
    found = compare_bundle(bundle, store)
    manifest = bundle.manifest
    total = Counter(one.verdict for one in found)
    _say(console, f"bundle of study {manifest.study}: {count(len(manifest.runs), 'run')}, written "
                  f"at commit {(manifest.code.commit or 'unknown')[:12]}")
    for verdict in VERDICTS[:-1]:
        lines = [str(one) for one in found if one.verdict == verdict]
        for line in lines[:MOST_LINES]:
            _say(console, line)
        if len(lines) > MOST_LINES:
            _say(console, f"{verdict:19}  and {len(lines) - MOST_LINES:,} more")
    for line in _environments(bundle, store):
        _say(console, line)
    _say(console, ", ".join(f"{total[verdict]} {verdict}" for verdict in VERDICTS[::-1])
         + " (runs on test sets)")
    return bool(found) and not (total["outside"] or total["missing"])


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def compare_bundle(bundle: Bundle, store: Store) -> list[Reproduced]:
    """Return every run of a bundle on every test set, in the order of the bundle."""
    tables, pairs = dict[tuple[str, str], dict[int, Predictions]](), list[_Pair]()
    found: dict[tuple[str, str], Reproduced] = {}
    for run in bundle.manifest.runs:
        folder = store.by_id(run.run_id)
        splits = [split for split in bundle.results(run.run) if not split.endswith("/val")]
        for split in splits:
            theirs = bundle.predictions(run.run, split)
            tables.setdefault((run.config_id, split), {})[run.seed] = theirs
            result = bundle.json(f"runs/{run.run}/results/{split}.json")
            one = _pair(run, split, theirs, result, folder)
            found[run.run, split] = Reproduced(run.run, split, "missing", why=one) if isinstance(
                one, str) else Reproduced(run.run, split, "equal")
            pairs += [] if isinstance(one, str) else [one]
        if not splits and run.wanted:
            found[run.run, "–"] = Reproduced(run.run, "–", "missing",
                                             why=f"{run.state} in the bundle, without results")
    every = {key: tabulate(by_seed) for key, by_seed in tables.items() if _alike(by_seed)}
    for pair in pairs:
        every[THERE + pair.run, pair.split] = tabulate({0: pair.theirs})
        every[HERE + pair.run, pair.split] = tabulate({0: pair.ours})
    scores = StudyScores(every)
    for pair in pairs:
        found[pair.run, pair.split] = _judged(pair, scores)
    return list(found.values())


@dataclass(frozen=True)
class _Pair:
    """Predictions of one run in the bundle and in this store, on the same pictures."""

    run: str
    split: str
    theirs: Predictions
    ours: Predictions


def _pair(run: BundledRun, split: str, theirs: Predictions, result: Mapping[str, object],
          folder: RunFolder | None) -> _Pair | str:
    """Return both predictions of a run, or why there are none to compare."""
    counts = confusion(theirs.labels, theirs.predicted, len(theirs.classes)).tolist()
    if result.get("confusion") != counts:
        return "results and predictions of the bundle disagree"
    if folder is None:
        return "no run of this id here"
    here = json_object(folder.result(split))
    if not here:
        return f"not evaluated on {split} here"
    if here.get("digest") != result.get("digest"):
        return f"{split} has other pictures here"
    try:
        ours = read_predictions(folder.predictions(split))
    except (OSError, DamagedFile):
        return f"no readable predictions on {split} here"
    place = {name: row for row, name in enumerate(ours.sample_ids)}
    if theirs.classes != ours.classes or place.keys() != set(theirs.sample_ids):
        return f"other classes or pictures on {split} here"
    order = np.array([place[name] for name in theirs.sample_ids])
    if (theirs.labels != ours.labels[order]).any():
        return f"other labels on {split} here"
    people = [ours.identities[row] for row in order]
    return _Pair(run.run, split, replace(theirs, identities=people),
                 Predictions(theirs.sample_ids, people, theirs.labels, ours.logits[order],
                             ours.classes))


def _alike(by_seed: Mapping[int, Predictions]) -> bool:
    """Return whether the seeds of a configuration were measured on the same pictures."""
    first, *others = by_seed.values()
    return all(one.classes == first.classes and set(one.sample_ids) == set(first.sample_ids)
               for one in others)


def _judged(pair: _Pair, scores: StudyScores) -> Reproduced:
    """Return the verdict on a pair; its spread between seeds is that of the bundle."""
    sets, theirs, ours = [(1.0, pair.split)], THERE + pair.run, HERE + pair.run
    ends = [scores.contrast({name: 1.0}, sets) for name in (theirs, ours)]
    there, here = (end.value if end else None for end in ends)
    one = scores.contrast({ours: 1.0, theirs: -1.0}, sets)
    same = bool((pair.theirs.predicted == pair.ours.predicted).all())
    if same or one is None or one.low is None or one.high is None:
        return Reproduced(pair.run, pair.split, "equal" if same else "outside", there, here,
                          None if same else one, "" if same else NO_INTERVAL)
    inside = one.low <= 0 <= one.high
    return Reproduced(pair.run, pair.split, "within the interval" if inside else "outside",
                      there, here, one)


def _environments(bundle: Bundle, store: Store) -> Sequence[str]:
    """Return a line for each environment of the bundle that differs from that of its runs here."""
    lines = []
    for text, runs in bundle.manifest.environments.items():
        ids = {one.run: one.run_id for one in bundle.manifest.runs}
        folders = [folder for run in runs if run in ids and (folder := store.by_id(ids[run]))]
        here = Counter(environment_of(facts) for folder in folders
                       if (facts := json_object(folder.path / "env.json")))
        lines += [f"environment of {count(number, 'run')}: {text} in the bundle; "
                  f"{other} here" for other, number in here.items() if other != text]
    return lines
