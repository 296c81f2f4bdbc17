"""The main findings of a study as sentences generated from its numbers.

The first sentence is the effect of the best intervention, where the study compares interventions
with a baseline (`fer.report.effect`), else the scores of one training set. A sentence about a
training set reports the mean over the configurations trained on it, with the interval of that mean.
Configurations are treated as fixed, not as a sample. Training sets are compared over the backbones,
recipes and other axes that all of them share, if any.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fer.evaluate.intervals import Interval
from fer.evaluate.predictions import NOBODY
from fer.evaluate.significance import THESE_MODELS, no_claim
from fer.report.analysis import Analysis
from fer.report.comparisons import Family
from fer.report.configurations import Config, is_mask_key
from fer.report.effect import at_chance, effect
from fer.report.formatting import caveat, count, listed, score, sizes
from fer.report.gap_sentences import confound, gap_sentence
from fer.report.overall import BELOW, TIED, Overall

NO_CONTROL = "no control split"  # linked to the reason on the page
OF_MODELS = f"With one seed a configuration, this is about {THESE_MODELS}."
UNLIKE = ("No combination of backbone and recipe was trained on every training set, so the "
          "sentences about the training sets are not comparable.")


@dataclass(frozen=True)
class Summary:
    """The main findings of a study.

    Attributes:
        main: the first sentence.
        sizes: its n, seeds and configurations.
        others: the training sets, and the comparisons.
        caveats: what the intervals do not include, and the confound.
        status: what a reader must know of the study: chance, seeds, people, control, selection.
    """

    main: str
    sizes: str
    others: tuple[str, ...]
    caveats: tuple[str, ...]
    status: tuple[str, ...] = ()


def summarise(analysis: Analysis, families: Sequence[Family],
              over: Overall | None = None, kept: Sequence[str] = ()) -> Summary:
    """Return the main findings of `analysis`; `kept` is which weights its runs kept."""
    if not analysis.cells:
        return Summary("No run has a result yet, so there is nothing to report.", "", (), ())
    groups, subset = comparable(analysis)
    sentences = [(name, *found) for name in _first_synthetic(analysis, list(groups))
                 if (found := _sentence(analysis, name, groups[name])) is not None]
    if not sentences:
        return Summary("No training set has finished runs with predictions on every test set yet, "
                       "so there is no result yet.", "", (_compared(families),), ())
    (_, first, intervals), *rest = sentences
    first = first.replace("a UAR of", "an unweighted average recall (UAR) of", 1)
    every = [one for _, _, found in sentences for one in found]
    caveats = (caveat(every), *_pooling(analysis), *([UNLIKE] if subset is None else []),
               *filter(None, [confound(analysis)]))
    number = len(groups[sentences[0][0]])
    more = "" if number == 1 else f", mean of {number} configurations"
    if subset:
        more += f", {'the one' if number == 1 else 'those'} that all training sets share"
    others = [f"{text} ({sizes(found[-1])})" for _, text, found in rest]
    main, size = first, f"{sizes(intervals[-1])}{more}"
    too_small = next((reason for one in intervals
                      if (reason := no_claim(one)) not in ("", THESE_MODELS)), "")
    best = effect(analysis, families, analysis.gap) if analysis.gap else None
    if too_small:
        main, size = f"The test sets allow no conclusion: {too_small}.", ""
    elif best is not None:
        main, size = best
    if main != first:
        others.insert(0, f"{first} ({sizes(intervals[-1])}{more})")
    others += _other_real_sets(analysis, families, groups)
    others += [_compared(families), _standing(analysis, over), _detectable(families)]
    return Summary(main, size, tuple(filter(None, others)), caveats, _status(analysis, every, kept))


def _other_real_sets(analysis: Analysis, families: Sequence[Family],
                     groups: Mapping[str, Sequence[Config]]) -> list[str]:
    """Return a sentence on each real set but the main one: the effect, or scores and gap."""
    lines = []
    for pair in analysis.pairs[1:]:
        best = effect(analysis, families, pair)
        if best is not None:
            lines.append(f"On {pair.real}: {best[0]} ({best[1]})")
            continue
        for name in _first_synthetic(analysis, list(groups)):
            words = _in_words(analysis, name, groups[name][0])
            found = gap_sentence(analysis, pair, words, groups[name])
            if found is not None:
                lines.append(f"{found[0]} ({sizes(found[1][-1])})")
    return lines


def comparable(analysis: Analysis) -> tuple[dict[str, list[Config]], bool | None]:
    """Return the measured configurations by training set, and whether some were excluded.

    If training sets have different configurations, only the shared ones are kept: comparing the
    mean of good and bad recipes on one set with that of the good ones on another would mislead.
    If none are shared, all are kept and the second value is None. A training set with masks drawn
    on the fly is another one than without.
    """
    groups: dict[str, list[Config]] = {}
    for config in analysis.configs:
        if _measured(analysis, config):
            groups.setdefault(config.trained_on, []).append(config)
    kinds = [{_kind(config) for config in group} for group in groups.values()]
    everywhere = set.intersection(*kinds) if kinds else set()
    if all(kind == everywhere for kind in kinds):
        return groups, False
    if not everywhere:
        return groups, None
    return {name: [config for config in group if _kind(config) in everywhere]
            for name, group in groups.items()}, True


def _kind(config: Config) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return config.backbone, config.recipe, tuple(
        axis for axis in config.axes if not is_mask_key(axis[0]))


def _status(analysis: Analysis, intervals: Sequence[Interval], kept: Sequence[str]
            ) -> tuple[str, ...]:
    """Return the facts that stand under the first sentence."""
    gap = analysis.gap
    splits = ([gap.synthetic, *(pair.real for pair in analysis.pairs)] if gap else
              [analysis.main_split()])
    classes, seeds = analysis.scores.classes(splits), sorted({one.seeds for one in intervals})
    unknown = dict.fromkeys(
        split for (_, split), cell in analysis.cells.items() if split in splits and cell.tables
        and any(name.startswith(NOBODY) for name in cell.tables.people))
    chance = f"chance: {1 / len(classes):.2f}" if classes else ""
    number = "–".join(dict.fromkeys((str(seeds[0]), count(seeds[-1], "seed")))) if len(
        seeds) > 1 else count(seeds[0], "seed")
    return tuple(filter(None, (
        chance, f"{number} a configuration",
        f"people unknown on {listed(list(unknown))}" if unknown else "people known",
        "" if gap is None else "control split of unmasked pictures" if analysis.controlled(gap)
        else "same people in both sets" if analysis.same_people() else NO_CONTROL,
        f"weights kept: {'; '.join(kept)}" if kept else
        "models selected on validation pictures only")))


def _pooling(analysis: Analysis) -> list[str]:
    """Return whether the seeds vary alike in all configurations, as pooling assumes."""
    p = analysis.scores.evenness([(1.0, analysis.main_split())])
    return [] if p is None else [
        "Pooling assumes that seeds vary alike in all configurations, relative to p(1 − p) "
        f"(Bartlett's test on {analysis.main_split()}: p = {p:.2g}); a configuration whose own "
        "variance is larger keeps it."]


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
        words = _in_words(analysis, name, configs[0])
        found = gap_sentence(analysis, analysis.gap, words, configs)
        if found is not None:
            return found
    parts, intervals = [], []
    for split in analysis.measured_splits():
        one = analysis.mean(configs, [(1.0, split)])
        if one is not None:
            chance = at_chance(one, len(analysis.scores.classes([split])))
            parts.append(f"{score(one)}{chance} on {analysis.role(split)}")
            intervals.append(one)
    if not parts:
        return None
    return (f"Models trained on {_in_words(analysis, name, configs[0])} reach a UAR of "
            f"{listed(parts)}.", intervals)


def _in_words(analysis: Analysis, name: str, config: Config) -> str:
    return name.replace(config.train_on, analysis.words("train_on", config.train_on), 1)


def _compared(families: Sequence[Family]) -> str:
    """Return how many planned comparisons are statistically significant."""
    pairs = [pair for family in families for pair in family.planned]
    if not pairs:
        return ""
    ranked = sum(family.ranked for family in families)
    tied = sum(pair.verdict == "tied" for pair in pairs)
    models = sum(pair.verdict == "these models" for pair in pairs)
    if tied == len(pairs):
        over = list(dict.fromkeys(family.over for family in families))
        return (f"{_all(len(pairs))} tied: no {listed(over, 'or')} "
                "is shown to be better than another.")
    if ranked == len(pairs):
        return f"{_all(len(pairs))} statistically significant."
    left = len(pairs) - ranked - tied - models
    return (f"Of {count(len(pairs), 'planned comparison')}, {ranked or 'none'} "
            f"{_is(ranked or 1)} statistically significant, {tied} {_is(tied)} tied"
            + (f", {models} {_is(models)} significant for {THESE_MODELS}" if models else "")
            + (f", {left} {'allows' if left == 1 else 'allow'} no claim" if left else "") + ".")


def _standing(analysis: Analysis, over: Overall | None) -> str:
    """Return how many configurations do not differ significantly from the best."""
    words = list(over.standing.values()) if over else []
    if over is None or not words:
        return ""
    where = analysis.role(over.split)
    more = f" {OF_MODELS}" if over.of_models and BELOW in words else ""
    if TIED not in words:
        others = {2: "the other", 3: "both others"}.get(len(words), f"all {len(words) - 1} others")
        return f"On {where}, one configuration is better than {others}.{more}"
    below = words.count(BELOW)
    return (f"On {where}, {words.count(TIED)} of {len(words)} configurations are tied for the best"
            + (f", {below} {_is(below)} worse.{more}" if below else "."))


def _detectable(families: Sequence[Family]) -> str:
    """Return the smallest difference that the planned comparisons could detect."""
    found = [f"{100 * family.detectable:.0f} points for {family.name}" for family in families
             if family.detectable is not None]
    return ("The smallest difference in UAR that this study could detect (80 % power): about "
            f"{listed(found)}.") if found else ""


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _all(number: int) -> str:
    return "The one planned comparison is" if number == 1 else (
        f"All {number} planned comparisons are")
