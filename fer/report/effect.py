"""The effect of the best intervention against its baseline, in one sentence."""

from collections.abc import Mapping, Sequence

from fer.config.study import GapPair
from fer.errors import noun_for
from fer.evaluate.intervals import Interval
from fer.report.analysis import Analysis
from fer.report.comparisons import Family, Pair, difference_of
from fer.report.formatting import points, sizes

NEAR_CHANCE = 0.2  # of the way from chance to 1
SUBJECTS = {"train_on": "Training on", "recipe": "The recipe", "backbone": "The backbone", "": ""}
MODELS = {"train_on": "trained on", "recipe": "with the recipe", "backbone": "with the backbone",
          "": "with "}


def effect(analysis: Analysis, families: Sequence[Family], gap: GapPair
           ) -> tuple[str, str] | None:
    """Return a sentence on the best intervention on the real set of a gap, and its sizes.

    None where no planned family compares with a baseline on that set.
    """
    found = [(family, pair) for family in families if family.against is not None
             for pair in family.planned if pair.split == gap.real]
    if not found:
        return None
    rank = [(pair.claim.sign > 0, pair.claim.significant > 0, pair.difference.value or 0.0)
            for _, pair in found]
    family, pair = found[max(range(len(rank)), key=rank.__getitem__)]
    main = (_raised(analysis, family, pair, gap) if pair.claim.significant > 0 else
            _none(analysis, family, pair))
    return main, f"{sizes(pair.difference)}, {pair.among}, {_limits_of(len(found))}"


def _raised(analysis: Analysis, family: Family, pair: Pair, gap: GapPair) -> str:
    """Return what the intervention raises, what happens to the gap, and what it costs.

    With one seed a configuration this is about the trained models, and the sentence says so.
    """
    before, after = (analysis.scores.contrast(side, [(1.0, pair.split)])
                     for side in (pair.theirs, pair.ours))
    noun = analysis.gap_noun(gap)
    one, two = (_plain(end) + _chance(analysis, end, pair.split) for end in (before, after))
    text = (f"{_named(analysis, family, pair)} raises real-mask UAR from {one} to {two}"
            if pair.claim.sign > 0 else
            f"The models {_named(analysis, family, pair, MODELS)} reach a real-mask UAR of {two} "
            f"against {one}")
    text += f" ({points(pair.simultaneous)} points)"
    sets = analysis.sets_of(gap)
    weights = difference_of(pair.ours, pair.theirs)
    gaps = [analysis.scores.contrast(side, sets) for side in (pair.theirs, pair.ours)]
    if gaps[0] and gaps[1]:
        old, new = (round(100 * (end.value or 0.0)) for end in gaps if end)
        moves = (f"falls from {old} to" if new < old else f"rises from {old} to" if new > old
                 else "stays at")
        text += f"; the {noun} {moves} {new} {noun_for(abs(new), 'point')}".replace("-", "−")
    cost = analysis.scores.contrast(weights, [(1.0, gap.synthetic)])
    if cost is not None and cost.low is not None and cost.high is not None:
        says = ("it costs nothing significant on synthetic masks" if cost.low <= 0 <= cost.high
                else "it costs UAR on synthetic masks" if cost.high < 0
                else "it gains on synthetic masks too")
        text += f"; {says} ({points(cost)})"
    if pair.claim.sign <= 0:
        return f"{text}; {pair.claim.reason}."
    return text + (f" ({pair.claim.marked})." if pair.claim.marked else ".")


def _none(analysis: Analysis, family: Family, pair: Pair) -> str:
    """Return that no intervention is shown to help, with the best of them."""
    name = _named(analysis, family, pair)
    best = f"{name[0].lower()}{name[1:]}, {points(pair.simultaneous)} points"
    after = analysis.scores.contrast(pair.ours, [(1.0, pair.split)])
    if chance := _chance(analysis, after, pair.split):
        best += f", to {_plain(after)}{chance}"
    reason = f"; {pair.claim.reason}" if pair.claim.reason else ""
    return f"No intervention is shown to raise real-mask UAR; the best is {best}{reason}."


def _named(analysis: Analysis, family: Family, pair: Pair,
           head: Mapping[str, str] = SUBJECTS) -> str:
    """Return an intervention and what it replaces; by default as the subject of a sentence."""
    left, right = (analysis.words(family.over, value) for value in (pair.left, pair.right))
    kind = head.get(family.over) or head[""] + family.over
    return f"{kind} {left} in place of {right}"


def _plain(one: Interval | None) -> str:
    return "–" if one is None or one.value is None else f"{one.value:.2f}"


def _chance(analysis: Analysis, one: Interval | None, split: str) -> str:
    """Return in brackets whether a UAR is at chance, or almost; empty where it is neither."""
    return "" if one is None else at_chance(one, len(analysis.scores.classes([split])))


def _limits_of(comparisons: int) -> str:
    return "95 % limits" if comparisons == 1 else "simultaneous 95 % limits"


def at_chance(one: Interval, classes: int) -> str:
    """Return in brackets whether a UAR is at chance, or almost; empty where it is neither."""
    if one.value is None or classes < 2:
        return ""
    chance = 1 / classes
    if one.low is not None and one.low <= chance:
        return f" (at chance, {chance:.2f})"
    if (one.value - chance) / (1 - chance) < NEAR_CHANCE:
        return f" (almost at chance, {chance:.2f})"
    return ""
