"""The main findings of a study as sentences generated from its numbers.

A sentence about a training set reports the mean over the configurations trained on it, seed by
seed, with the interval of that mean. Configurations are treated as fixed, not as a sample. Training
sets are compared over the backbones, recipes and other axes that all of them share, if any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.errors import noun_for
from fer.evaluate.bootstrap import SEEDS_NEEDED
from fer.evaluate.intervals import Interval, interval_of
from fer.report.analysis import NET, Analysis, Config, gap_draws, over_configs
from fer.report.comparisons import Family
from fer.report.formatting import caveat, count, score, sizes
from fer.report.overall import BELOW, TIED, Overall

CONFOUND = ("The two sets differ in people and cameras as well as in masks, and there is no "
            "control split of unmasked images of the same people, so the gap is not the effect "
            "of the masks alone.")
CONTROLLED = ("The two sets differ in people and cameras as well as in masks. The gap net of "
              "control subtracts what the same models lose between the unmasked images of "
              "{synthetic} and {real}. It assumes that this loss is the same under masks.")
OF_RUNS = (f"With fewer than {SEEDS_NEEDED} seeds this holds for these runs, not for the training "
           "method.")
UNLIKE = ("No combination of backbone and recipe was trained on every training set, so the "
          "sentences about the training sets are not comparable.")
DRAWINGS = ("The images are computer-generated drawings, not people: no number on this page is "
            "evidence about people.")


@dataclass(frozen=True)
class Summary:
    """The main findings of a study.

    Attributes:
        main: the first sentence.
        sizes: its n, seeds and configurations.
        others: the same for the other training sets, and the comparisons.
        caveats: what the intervals do not include, and the confound.
    """

    main: str
    sizes: str
    others: tuple[str, ...]
    caveats: tuple[str, ...]


def summarise(analysis: Analysis, families: Sequence[Family],
              over: Overall | None = None) -> Summary:
    """Return the main findings of `analysis`."""
    if not analysis.cells:
        return Summary("No run has a result yet, so there is nothing to report.", "", (), ())
    groups, subset = comparable(analysis)
    sentences = [(name, *found) for name in _first_synthetic(analysis, list(groups))
                 if (found := _sentence(analysis, name, groups[name])) is not None]
    if not sentences:
        return Summary("No training set has finished runs with predictions on every test set yet, "
                       "so there is no result yet.", "", (_compared(families),), ())
    (_, main, intervals), *rest = sentences
    main = main.replace("a UAR of", "an unweighted average recall (UAR) of", 1)
    kinds = [one.kind for _, _, found in sentences for one in found]
    caveats = (caveat(kinds), *([UNLIKE] if subset is None else []),
               *([_confound(analysis)] if analysis.gaps else []))
    number = len(groups[sentences[0][0]])
    more = "" if number == 1 else f", mean of {number} configurations"
    if subset:
        more += f", {'the one' if number == 1 else 'those'} that all training sets share"
    others = (*(f"{text} {_brief(found)}" for _, text, found in rest), _compared(families),
              _standing(analysis, over), _power(analysis, over))
    return Summary(main, f"{sizes(intervals[-1])}{more}", tuple(filter(None, others)), caveats)


def comparable(analysis: Analysis) -> tuple[dict[str, list[Config]], bool | None]:
    """Return the measured configurations by training set, and whether some were excluded.

    If training sets have different configurations, only the shared ones are kept: comparing the
    mean of good and bad recipes on one set with that of the good ones on another would mislead.
    If none are shared, all are kept and the second value is None.
    """
    groups: dict[str, list[Config]] = {}
    for config in analysis.configs:
        if _measured(analysis, config):
            groups.setdefault(config.train_on, []).append(config)
    kinds = [{_kind(config) for config in group} for group in groups.values()]
    everywhere = set.intersection(*kinds) if kinds else set()
    if all(kind == everywhere for kind in kinds):
        return groups, False
    if not everywhere:
        return groups, None
    return {name: [config for config in group if _kind(config) in everywhere]
            for name, group in groups.items()}, True


def _kind(config: Config) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return config.backbone, config.recipe, config.axes


def _confound(analysis: Analysis) -> str:
    control = analysis.gap.control if analysis.gap else None
    if control is None or not any("uar" + NET in found for found in analysis.gaps.values()):
        return CONFOUND
    return CONTROLLED.format(synthetic=control.synthetic, real=control.real)


def _brief(found: Sequence[Interval]) -> str:
    return f"({sizes(found[-1])})"


def _measured(analysis: Analysis, config: Config) -> bool:
    return any(key[0] == config.config_id for key in analysis.cells)


def _first_synthetic(analysis: Analysis, names: list[str]) -> list[str]:
    """Return the training sets, starting with the one of the gap's synthetic test set."""
    head = analysis.gap.synthetic.split("/")[0] if analysis.gap else ""
    return sorted(names, key=lambda name: name != head)


def _sentence(analysis: Analysis, name: str,
              configs: Sequence[Config]) -> tuple[str, list[Interval]] | None:
    """Return a sentence on the scores of models trained on `name`, and the intervals in it."""
    if analysis.gap is not None:
        found = _gap_sentence(analysis, name, configs)
        if found is not None:
            return found
    parts, intervals = [], []
    for split in analysis.measured_splits():
        draws = over_configs(analysis, configs, split)
        if draws is not None:
            one = interval_of(draws, "uar")
            parts.append(f"{score(one)} on {analysis.role(split)}")
            intervals.append(one)
    if not parts:
        return None
    return f"Models trained on {name} reach a UAR of {_listed(parts)}.", intervals


def _gap_sentence(analysis: Analysis, name: str,
                  configs: Sequence[Config]) -> tuple[str, list[Interval]] | None:
    gap = analysis.gap
    assert gap is not None
    synthetic, real = (over_configs(analysis, configs, split)
                       for split in (gap.synthetic, gap.real))
    found = gap_draws(synthetic, real)
    if synthetic is None or real is None or found is None:
        return None
    one, two = interval_of(synthetic, "uar"), interval_of(real, "uar")
    apart = interval_of(found, "uar")
    text = (f"Models trained on {name} reach a UAR of {score(one)} on synthetic masks and "
            f"{score(two)} on real masks: {_gap_words(apart)}.")
    if gap.control is not None:
        control = gap_draws(*(over_configs(analysis, configs, split)
                              for split in (gap.control.synthetic, gap.control.real)))
        net = gap_draws(found, control)
        if net is not None:
            text += f" Net of the control, {_gap_words(interval_of(net, 'uar'))}."
    return text, [one, two, apart]


def _gap_words(apart: Interval) -> str:
    """Return the gap in words, noting where it is not distinguishable from zero."""
    assert apart.value is not None
    points = round(100 * apart.value)  # an int, so never −0
    noun = noun_for(abs(points), "point")
    value = f"{points:d}".replace("-", "−")
    if apart.low is None or apart.high is None:
        return f"a gap of {value} {noun}, without an interval"
    limits = f"[{round(100 * apart.low):d}, {round(100 * apart.high):d}]".replace("-", "−")
    note = ", not distinguishable from zero" if apart.low <= 0 <= apart.high else ""
    return f"a gap of {value} {noun} {limits}{note}"


def _compared(families: Sequence[Family]) -> str:
    """Return how many planned comparisons are statistically significant."""
    pairs = [pair for family in families for pair in family.pairs]
    if not pairs:
        return ""
    ranked = sum(family.ranked for family in families)
    tied = sum(pair.verdict == "tied" for pair in pairs)
    if tied == len(pairs):
        over = list(dict.fromkeys(family.over for family in families))
        return (f"{_all(len(pairs))} tied: no {_listed(over, 'or')} "
                "is shown to be better than another.")
    more = f" {OF_RUNS}" if any(family.of_runs for family in families) else ""
    if ranked == len(pairs):
        return f"{_all(len(pairs))} statistically significant.{more}"
    return (f"Of {count(len(pairs), 'planned comparison')}, {ranked} "
            f"{'is' if ranked == 1 else 'are'} statistically significant, {tied} "
            f"{'is' if tied == 1 else 'are'} tied"
            + (f", {left} cannot be ranked." if (left := len(pairs) - ranked - tied) else ".")
            + more)


def _standing(analysis: Analysis, over: Overall | None) -> str:
    """Return how many configurations do not differ significantly from the best."""
    words = list(over.standing.values()) if over else []
    if over is None or not words:
        return ""
    where = analysis.role(over.split)
    more = f" {OF_RUNS}" if over.seeds < SEEDS_NEEDED and BELOW in words else ""
    if TIED not in words:
        return f"On {where}, one configuration is better than all {len(words) - 1} others.{more}"
    below = words.count(BELOW)
    return (f"On {where}, {words.count(TIED)} of {len(words)} configurations are tied for the best"
            + (f", {below} {'is' if below == 1 else 'are'} worse.{more}" if below else "."))


def _power(analysis: Analysis, over: Overall | None) -> str:
    """Return how many images would be needed to distinguish the two best configurations."""
    if over is None or over.power is None or over.leaders is None:
        return ""
    found, where = over.power, analysis.role(over.split)
    pair = (f"The two best on {where}, {over.leaders[0]} and {over.leaders[1]}, are "
            f"{100 * abs(found.difference):.1f} points apart")
    if found.needed is None:
        return (f"{pair}: no number of pictures distinguishes them"
                + (" with these seeds." if found.seeds else "."))
    more = "." if found.seeds else ", not counting the variation between seeds."
    if found.needed <= found.n:
        return f"{pair}; n = {found.n:,} pictures are enough to detect such a difference{more}"
    return (f"{pair}; detecting such a difference takes about {_rounded(found.needed):,} such "
            f"pictures (80 % power at 5 %), and there are n = {found.n:,}{more}")


def _rounded(number: int) -> int:
    """Return a number rounded to two significant digits."""
    step = 10 ** max(0, len(str(number)) - 2)
    return int(round(number / step) * step)


def _all(number: int) -> str:
    return "The one planned comparison is" if number == 1 else (
        f"All {number} planned comparisons are")


def _listed(parts: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
