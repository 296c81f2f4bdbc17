"""One report on several studies; a run that studies share appears once.

The study is a separate axis of a configuration, so runs of different studies are never pooled as
seeds, and one family compares the studies where everything else is equal.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from fer.config.study import Comparison, Study
from fer.errors import CallerError
from fer.report.build_report import About, build_report
from fer.report.comparisons import STUDY
from fer.report.read.run_files import ReportRun
from fer.report.study_report import about, runs_of
from fer.report.terminal import print_summary
from fer.study.run_folder import Store
from fer.study.study_folder import StudyFolder

NAME = r"[A-Za-z0-9][A-Za-z0-9_\-]*"


def report_studies(studies: Sequence[StudyFolder], name: str, store: Store,
                   console: Console) -> bool:
    """Build `studies/<name>/report/` on several studies; return whether it includes all runs.

    Raises:
        CallerError: a study is named twice, classes differ, or the name is that of a study.
    """
    names = [one.study.study for one in studies]
    name = name or "-and-".join(names)
    _check(studies, name, store)
    found = [runs_of(one, store) for one in studies]
    runs = label([runs for runs, _ in found], names)
    study, lines = merge([one.study for one in studies], name)
    summary = build_report(study, runs, store.study(name) / "report",
                           merge_about([about(one, store) for one in studies], lines))
    print_summary(summary, console)
    return all(complete for _, complete in found)


def merge_about(knowledge: Sequence[About], lines: Sequence[str]) -> About:
    """Return what is known about the images of all studies; `lines` are further warnings."""
    notes = [line for one in knowledge for line in one.warnings]
    return About(
        pictures=lambda sample: next(filter(None, (one.pictures(sample) for one in knowledge)),
                                     None),
        facts=lambda sample: next(filter(None, (one.facts(sample) for one in knowledge)), {}),
        best=[name for one in knowledge for name in one.best or ()],
        warnings=[*dict.fromkeys(notes), *lines],
        unknown_people={split for one in knowledge for split in one.unknown_people},
        labels={key: label for one in knowledge for key, label in one.labels.items()},
        framing={split: words for one in knowledge for split, words in one.framing.items()})


def _check(studies: Sequence[StudyFolder], name: str, store: Store) -> None:
    names = [one.study.study for one in studies]
    if not re.fullmatch(NAME, name):
        raise CallerError(f"--as {name}: a folder name with only letters, digits, '-' and '_' "
                          "is required")
    if len(set(names)) < len(names):
        raise CallerError(f"study '{max(names, key=names.count)}' is named twice")
    if (store.study(name) / "index.json").is_file():
        raise CallerError(f"--as {name}: a study under {store.study(name).parent} has this name; "
                          "its report would be overwritten")
    for one in studies[1:]:
        if one.data.classes != studies[0].data.classes:
            raise CallerError(f"studies {names[0]} and {one.study.study} have different classes: "
                              f"{', '.join(studies[0].data.classes)} and "
                              f"{', '.join(one.data.classes)}")


def label(found: Sequence[Sequence[ReportRun]], names: Sequence[str]) -> list[ReportRun]:
    """Return every run once, with the studies that contain its configuration as an axis."""
    having: dict[str, dict[str, None]] = {}
    for runs, name in zip(found, names, strict=True):
        for run in runs:
            having.setdefault(run.config_id, {})[name] = None
    once = {run.run: run for runs in reversed(found) for run in runs}
    axes = {run.config_id: run.axes for runs in reversed(found) for run in runs}  # first study wins
    return [replace(run, axes={**axes[run.config_id], STUDY: "+".join(having[run.config_id])})
            for run in once.values()]


def merge(studies: Sequence[Study], name: str) -> tuple[Study, list[str]]:
    """Return one study with the test sets and comparisons of all, and notes on conflicts."""
    splits = list(dict.fromkeys(split for one in studies for split in one.evaluate_on))
    owners = [one for one in studies if one.gap is not None]
    gaps = [one.gap for one in owners]
    lines = [] if all(gap == gaps[0] for gap in gaps) else [
        f"the studies define different gaps; the gap of {owners[0].study} is shown"]
    compare: dict[str, Comparison] = {}
    for one in studies:
        for key, plan in one.compare.items():
            compare[key if compare.get(key, plan) == plan else f"{key} ({one.study})"] = plan
    common = [split for split in splits if all(split in one.evaluate_on for one in studies)]
    if common:
        free = STUDY if "studies" in compare else "studies"
        compare[free] = Comparison(over=STUDY, on=common)
    return studies[0].model_copy(update={
        "study": name, "evaluate_on": splits, "gap": gaps[0] if gaps else None,
        "baselines": [one for study in studies for one in study.baselines],
        "compare": compare}), lines
