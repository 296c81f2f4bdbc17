"""The planned comparisons of a study.

A family compares the values of one grid key, all else equal: every value with a baseline, on
average over the other keys; or, without a baseline, every pair. A difference is claimed where
`fer.evaluate.significance` allows it and Holm's adjusted p is below 5 %; all other pairs are tied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from fer.config.study import Comparison, Study
from fer.evaluate.intervals import Interval
from fer.evaluate.mcnemar import McNemar, mcnemar
from fer.evaluate.significance import THESE_MODELS, Claim, claims, detectable
from fer.report.analysis import Analysis
from fer.report.configurations import Config

METRIC = "uar"
STUDY = "study"  # the axis of a report on several studies (`fer.report.multi_study`)
OTHER_SEEDS = "other seeds may differ"

Weights = Mapping[str, float]  # config_id -> weight


@dataclass(frozen=True)
class Pair:
    """Two values of a key, all else equal, on one test set.

    Attributes:
        left, right: values of the key; `right` is the baseline, if there is one.
        among: the settings that both share, or `mean of N settings`.
        difference: left minus right, in UAR, with limits of its own.
        simultaneous: the same with limits that hold for all comparisons of the family.
        gap, gap_simultaneous: on a real set, the gap of left minus that of right, in UAR, net of
            the control where there is one; None elsewhere. It is not tested.
        exact: McNemar's test for each seed that both have; empty for means over settings.
        claim: what may be claimed of `difference`.
        ours, theirs: config_id -> weight of either value.
        planned: False for one setting of a comparison that is planned as a mean over settings.
    """

    split: str
    among: str
    left: str
    right: str
    difference: Interval
    simultaneous: Interval
    gap: Interval | None
    gap_simultaneous: Interval | None
    exact: tuple[McNemar, ...]
    claim: Claim
    ours: Weights
    theirs: Weights
    planned: bool = True

    @property
    def winner(self) -> str | None:
        """The significantly better value, if a difference is claimed."""
        return {1: self.left, -1: self.right}.get(self.claim.sign)

    @property
    def verdict(self) -> str:
        """`left`, `right`, `tied`, `these models` or `no claim`."""
        if self.claim.sign:
            return "left" if self.claim.sign > 0 else "right"
        if self.claim.significant:
            return "these models"
        return "no claim" if self.claim.reason not in ("", THESE_MODELS) else "tied"

    @property
    def said(self) -> str:
        """The verdict in words."""
        if self.verdict == "no claim":
            return f"no claim: {self.claim.reason}"
        if self.verdict == "tied":
            return "tied"
        better = self.left if (self.claim.sign or self.claim.significant) > 0 else self.right
        if self.verdict == "these models":
            return f"these {better} models are better; {OTHER_SEEDS}"
        return f"{better} is better" + (f" ({self.claim.marked})" if self.claim.marked else "")


@dataclass(frozen=True)
class Family:
    """One family of planned comparisons; `notes` lists what could not be compared.

    Attributes:
        against: the baseline; None where all pairs are compared.
        detectable: the smallest difference in UAR that would be detected with 80 % power, the
            median over the planned comparisons; None without any.
    """

    name: str
    over: str
    against: str | None
    pairs: tuple[Pair, ...]
    detectable: float | None
    notes: tuple[str, ...]

    @property
    def planned(self) -> tuple[Pair, ...]:
        """The pairs that the study plans, without the single settings of a mean."""
        return tuple(pair for pair in self.pairs if pair.planned)

    @property
    def ranked(self) -> int:
        """The number of planned pairs with a claimed difference."""
        return sum(pair.winner is not None for pair in self.planned)

    @property
    def of_models(self) -> bool:
        """Whether any difference holds for these trained models only."""
        return any(pair.verdict == "these models" for pair in self.planned)


def compare(study: Study, analysis: Analysis) -> list[Family]:
    """Return every family of comparisons that `study` declares."""
    return [_family(name, plan, analysis) for name, plan in study.compare.items()]


def _family(name: str, plan: Comparison, analysis: Analysis) -> Family:
    """Return one family.

    Holm's adjustment is over all pairs and test sets, or, against a baseline, over the values on
    each test set. Single settings of a mean are adjusted among themselves.
    """
    notes: list[str] = []
    groups = groups_of(analysis.configs, plan.over)
    if not groups:
        notes.append(f"no run has a grid key '{plan.over}'")
    elif plan.against is not None and not any(plan.against in group for group in groups.values()):
        notes.append(f"no run has {plan.over} '{plan.against}', the baseline")
    elif not any(len(group) > 1 for group in groups.values()):
        notes.append(f"no two configurations differ in {plan.over} only")
    notes += [f"{split} is not in evaluate_on" for split in plan.on
              if split not in analysis.splits]
    if plan.against is None:
        pairs = _tested([draft for split in plan.on for draft in _pairs(split, groups)], analysis)
    else:
        pairs = [pair for split in plan.on
                 for pair in _against(split, groups, plan.against, analysis)]
    if not pairs and not notes:
        notes.append("nothing to compare yet")
    found = [power for pair in pairs if pair.planned and (power := detectable(
        pair.difference, sum(other.planned for other in pairs)))]
    return Family(name, plan.over, plan.against, tuple(pairs), median(found) if found else None,
                  tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class _Draft:
    """A comparison before it is tested: the values, and the configurations of either."""

    split: str
    among: str
    left: str
    right: str
    ours: Weights
    theirs: Weights
    planned: bool = True


def _pairs(split: str, groups: Mapping[str, Mapping[str, Config]]) -> list[_Draft]:
    """Return the pairs of all groups; a pair shared by two studies counts once."""
    found: dict[tuple[str, str], _Draft] = {}
    for among, configs in groups.items():
        for left, right in combinations(configs, 2):
            ids = configs[left].config_id, configs[right].config_id
            found.setdefault(ids, _Draft(split, among, left, right, {ids[0]: 1}, {ids[1]: 1}))
    return list(found.values())


def _against(split: str, groups: Mapping[str, Mapping[str, Config]], baseline: str,
             analysis: Analysis) -> list[Pair]:
    """Return every value against the baseline: the mean over settings, then each setting."""
    means, single = [], []
    values = dict.fromkeys(value for group in groups.values() for value in group)
    for value in values:
        both = {among: (group[value].config_id, group[baseline].config_id)
                for among, group in groups.items() if value in group and baseline in group
                and value != baseline and all(
                    (group[one].config_id, split) in analysis.scores.tables
                    for one in (value, baseline))}
        if not both:
            continue
        share, names = 1 / len(both), list(both)
        means.append(_Draft(split, names[0] if len(both) == 1 else f"mean of {len(both)} settings",
                            value, baseline, {left: share for left, _ in both.values()},
                            {right: share for _, right in both.values()}))
        single += [_Draft(split, among, value, baseline, {left: 1}, {right: 1}, False)
                   for among, (left, right) in both.items() if len(both) > 1]
    return _tested(means, analysis, baseline=True) + _tested(single, analysis, baseline=True)


def _tested(drafts: Sequence[_Draft], analysis: Analysis, baseline: bool = False) -> list[Pair]:
    """Return the comparisons that have predictions, adjusted as one family."""
    scores = analysis.scores
    known = [(draft, one) for draft in drafts if (one := scores.contrast(
        difference_of(draft.ours, draft.theirs), [(1.0, draft.split)], METRIC))]
    worst = next((one for draft, _ in known if baseline and (one := scores.contrast(
        draft.theirs, [(1.0, draft.split)], METRIC)) and one.uneven), None)
    verdicts = claims([one for _, one in known], worst)
    pairs = []
    for (draft, one), claim in zip(known, verdicts, strict=True):
        real = analysis.pair_of(draft.split)
        gap = scores.contrast(difference_of(draft.ours, draft.theirs), analysis.sets_of(real),
                              METRIC) if real else None
        many = len(known)
        pairs.append(Pair(
            draft.split, draft.among, draft.left, draft.right, one, one.simultaneous(many), gap,
            gap.simultaneous(many) if gap else None, _exact(draft, analysis), claim,
            draft.ours, draft.theirs, draft.planned))
    return pairs


def difference_of(left: Weights, right: Weights) -> dict[str, float]:
    """Return the weights of a difference; a configuration on both sides cancels."""
    found = dict(left)
    for name, weight in right.items():
        found[name] = found.get(name, 0.0) - weight
    return found


def _exact(draft: _Draft, analysis: Analysis) -> tuple[McNemar, ...]:
    """Return McNemar's test for each seed that two configurations share."""
    if len(draft.ours) > 1:
        return ()
    one, two = (analysis.scores.tables[next(iter(side)), draft.split]
                for side in (draft.ours, draft.theirs))
    return tuple(mcnemar(seed, one.right[one.seeds.index(seed)], two.right[two.seeds.index(seed)])
                 for seed in one.seeds if seed in two.seeds)


def groups_of(configs: Sequence[Config], over: str) -> dict[str, dict[str, Config]]:
    """Return shared settings -> value of `over` -> configuration."""
    groups: dict[str, dict[str, Config]] = {}
    for config in configs:
        value = None if over == "seed" else config.runs[0].value(over)
        if value is None:
            continue
        rest = [("", config.backbone), ("", config.recipe), ("", config.train_on)]
        kept = [text for (_, text), key in zip(rest, ("backbone", "recipe", "train_on"),
                                               strict=True) if key != over]
        for study in _studies(config) if over != STUDY else [""]:
            axes = [f"{key}={study if key == STUDY else text}" for key, text in config.axes
                    if key != over]
            groups.setdefault(" · ".join([*kept, *axes]), {})[value] = config
    once: dict[tuple[str, ...], str] = {}  # a group shared by several studies counts once
    for among, group in groups.items():
        once.setdefault(tuple(config.config_id for config in group.values()), among)
    return {among: groups[among] for among in once.values()}


def _studies(config: Config) -> list[str]:
    """Return the studies that a configuration belongs to; one empty name in a single-study report.

    It is compared within each of them, as in their own reports.
    """
    return dict(config.axes).get(STUDY, "").split("+")
