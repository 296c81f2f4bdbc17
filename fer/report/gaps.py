"""The gaps of a study's configurations: synthetic minus real, and net of the control."""

from fer.config.study import GapPair
from fer.evaluate.intervals import Interval
from fer.evaluate.study_scores import StudyScores

NET = ", net of control"  # suffix of a gap's metric after subtracting the control gap
REAL = "real masks"  # the role of the real sets

Gaps = dict[str, dict[str, Interval]]  # config_id -> metric -> gap


def gaps_of(pair: GapPair, configs: list[str], scores: StudyScores) -> Gaps:
    """Return the gaps of each configuration that was measured on both sets, by metric."""
    return {name: found for name in configs if (found := _gap(pair, name, scores))}


def _gap(pair: GapPair, config_id: str, scores: StudyScores) -> dict[str, Interval]:
    """Return synthetic minus real of a configuration, in UAR and in recall per class.

    UAR is over the classes that all sets of a difference have. Accuracy and macro-F1 depend on
    class proportions, which differ between the sets, so they have no gap. With a control, UAR and
    recall net of it are added, as in `uar, net of control`.
    """
    names = ["uar", *(f"recall:{name}" for name in scores.classes([pair.synthetic, pair.real]))]
    found = {name: scores.contrast({config_id: 1}, pair.sets, name) for name in names}
    if pair.control:
        found |= {name + NET: scores.contrast({config_id: 1}, pair.net_sets, name)
                  for name in names}
    return {name: one for name, one in found.items() if one is not None}
