"""The gap in sentences: scores on both sets, their difference, and what confounds it.

Without a control split a difference between the two sets is not called a gap: it may be one of
people and cameras.
"""

from collections.abc import Sequence

from fer.config.study import GapPair
from fer.errors import noun_for
from fer.evaluate.intervals import Interval
from fer.report.analysis import Analysis
from fer.report.configurations import Config
from fer.report.effect import at_chance
from fer.report.formatting import listed, score, signed

CONFOUND = ("The two sets differ in people and cameras as well as in masks, and there is no "
            "control split of unmasked images of the same people, so their difference is not the "
            "effect of the masks alone.")
CONTROLLED = ("The two sets differ in people and cameras as well as in masks. The gap is net of "
              "the control: what the same models lose between the unmasked images of "
              "{synthetic} and {real} is subtracted. It assumes that this loss is the same under "
              "masks.")
SAME_PEOPLE = "Both sets of the gap show the same people, so people are paired in its interval."


def confound(analysis: Analysis) -> str:
    """Return what else than masks may differ between the sets of the gap; empty without a gap."""
    if analysis.gap is None or not analysis.gaps:
        return ""
    if analysis.same_people():
        return SAME_PEOPLE
    if analysis.gap.control is None or not analysis.controlled(analysis.gap):
        return CONFOUND
    synthetic, real = analysis.gap.control
    return CONTROLLED.format(synthetic=synthetic, real=real)


def gap_sentence(analysis: Analysis, pair: GapPair, name: str,
                 configs: Sequence[Config]) -> tuple[str, list[Interval]] | None:
    """Return a sentence on the scores of `configs` on both sets of a gap, and its intervals.

    Args:
        name: the training set of `configs`, in words.
    """
    sets = analysis.sets_of(pair)
    common = analysis.scores.classes([split for _, split in sets])
    apart = analysis.mean(configs, sets)
    one, two = (analysis.mean(configs, [(1.0, split)], "uar", common)
                for split in (pair.synthetic, pair.real))
    if one is None or two is None or apart is None:
        return None
    missing = [label for label in analysis.classes if label not in common]
    words = [at_chance(end, len(common)) for end in (one, two)]
    real = "real masks" if pair == analysis.gap else pair.real
    text = (f"Models trained on {name} reach a UAR of {score(one)}{words[0]} on synthetic masks "
            f"and {score(two)}{words[1]} on {real}: {gap_words(apart, analysis.gap_noun(pair))}"
            + (f", over the classes that all sets have (not {listed(missing)})" if missing
               else "") + _shifts(analysis, pair, configs, apart, common) + ".")
    if all(words):
        text += " Where models are at chance on both sets, a gap says nothing."
    plain = analysis.mean(configs, pair.sets) if analysis.controlled(pair) else None
    if plain is not None:
        text += (" The gap is net of the control; without it there is "
                 f"{gap_words(plain, 'difference between the sets')}.")
    return text, [one, two, apart]


def _shifts(analysis: Analysis, pair: GapPair, configs: Sequence[Config], apart: Interval,
            common: Sequence[str]) -> str:
    """Return how the recalls move where the gap in UAR does not."""
    if apart.low is None or apart.high is None or not apart.low <= 0 <= apart.high:
        return ""
    found = {name: one.simultaneous(len(common)) for name in common
             if (one := analysis.mean(configs, analysis.sets_of(pair), f"recall:{name}"))}
    if not any(one.low is not None and one.high is not None and not one.low <= 0 <= one.high
               for one in found.values()):
        return ""
    return "; but recalls differ: " + listed([f"{name} {signed(one.value or 0.0)}"
                                              for name, one in found.items()]) + " points"


def gap_words(apart: Interval, called: str) -> str:
    """Return a gap in words, noting where it is not distinguishable from zero.

    Args:
        called: `gap`, or `difference between the sets`.
    """
    assert apart.value is not None
    points = round(100 * apart.value)  # an int, so never −0
    noun = noun_for(abs(points), "point")
    value = f"{points:d}".replace("-", "−")
    if apart.low is None or apart.high is None:
        return f"a {called} of {value} {noun}, without an interval"
    limits = f"[{round(100 * apart.low):d}, {round(100 * apart.high):d}]".replace("-", "−")
    note = ", not distinguishable from zero" if apart.low <= 0 <= apart.high else ""
    return f"a {called} of {value} {noun} {limits}{note}"
