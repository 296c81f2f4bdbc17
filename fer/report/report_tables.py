"""The tables of a report. Captions explain the columns."""

from collections.abc import Mapping, Sequence

from fer.evaluate.intervals import Interval
from fer.evaluate.significance import no_claim
from fer.report.analysis import Analysis
from fer.report.comparisons import Family, Pair
from fer.report.configurations import Config
from fer.report.ensemble_scores import Ensemble
from fer.report.formatting import NONE, count, signed
from fer.report.gaps import NET
from fer.report.overall import BELOW, BEST, Overall
from fer.report.read.run_files import ReportRun
from fer.report.subgroups import Subgroup
from fer.report.table_model import (
    MISSING,
    Column,
    Field,
    Listing,
    apart,
    listing,
    number,
    p_value,
    scored,
    text,
)


def results(analysis: Analysis, over: Overall | None) -> Listing:
    """Return the table of all configurations on all test sets, the best on the main one first."""
    splits = analysis.shown_splits()
    standing = over.standing if over else {}
    columns = [Column("backbone"), Column("recipe"), Column("trained on"),
               *(_set_column(analysis, split) for split in splits),
               *_gap_columns(analysis),
               *([Column("standing", f"on {over.split}")] if standing and over else []),
               Column("seeds", "", True)]
    rows = []
    ranked = sorted(analysis.configs, key=lambda one: -analysis.main_score(one)) if splits else []
    for config in ranked:
        cells = [analysis.cells.get((config.config_id, split)) for split in splits]
        seeds = [cell.metrics["uar"].seeds for cell in cells if cell]
        if not seeds:
            continue
        rows.append([
            Field(config.backbone, opens=config.config_id), text(_recipe(config)),
            text(config.train_on),
            *(scored(cell.metrics["uar"] if cell else None) for cell in cells),
            *(apart(analysis.gap_of(config.config_id, pair), "strong")
              for pair in analysis.pairs if analysis.gaps_on[pair.real]),
            *([_standing(standing.get(config.config_id), over)] if standing and over else []),
            Field("–".join(dict.fromkeys((str(min(seeds)), str(max(seeds))))), float(max(seeds)))])
    notes = [over.why] if over and over.why else []
    first = f"; the best on {analysis.main_split()} first" if splits else ""
    return listing(f"Unweighted average recall (UAR), mean over seeds, with 95 % intervals{first}",
                   columns, rows, notes)


def ensembles(analysis: Analysis, found: Sequence[Ensemble]) -> Listing:
    """Return the table of all ensembles on all test sets."""
    splits = analysis.shown_splits()
    rows = [[
        text(one.config.backbone if one.config else "several"),
        text(f"{_recipe(one.config)} · ensemble" if one.config else f"ensemble: {one.how}"),
        text(one.train_on), *(scored(one.metrics.get(split, {}).get("uar")) for split in splits),
        *(apart(one.gaps.get(pair.real), "strong")
          for pair in analysis.pairs if analysis.gaps_on[pair.real]),
        Field(count(len(one.members), "run"), float(len(one.members)))] for one in found]
    return listing("UAR of ensembles, with 95 % intervals of that one ensemble", [
        Column("backbone"), Column("recipe"), Column("trained on"),
        *(_set_column(analysis, split) for split in splits),
        *_gap_columns(analysis),
        Column("members", "", True)], rows)


def _gap_columns(analysis: Analysis) -> list[Column]:
    """Return a column for the gap of each real set that was measured."""
    return [Column("gap", ", ".join((
        "points", *(["net of control"] if analysis.controlled(pair) else []),
        *([pair.real] if len(analysis.pairs) > 1 else []))), True)
        for pair in analysis.pairs if analysis.gaps_on[pair.real]]


def _recipe(config: Config) -> str:
    return " · ".join((config.recipe, *(f"{key} = {value}" for key, value in config.axes)))


def _standing(word: str | None, over: Overall) -> Field:
    """Return the standing; with one seed it is marked as holding for these models only."""
    few = over.of_models and word in (BEST, BELOW)
    return Field(f"{word} of these models" if few else word or "not ranked",
                 {BEST: 0.0, BELOW: 2.0}.get(word or "", 1.0),
                 look="good" if word == BEST and not few else "plain")


def _set_column(analysis: Analysis, split: str) -> Column:
    role = analysis.role(split).split(" (")[0]
    n = next(cell.n for (_, name), cell in analysis.cells.items() if name == split)
    return Column(role, f"{f'{split}, ' if role != split else ''}n = {n:,}", True)


def other_metrics(analysis: Analysis, pooled: Sequence[Ensemble]) -> Listing:
    """Return the table of accuracy, macro-F1 and the metrics of probabilities."""
    heads = ("accuracy", "macro-F1", "AUROC", "NLL", "Brier", "ECE")
    rows = []
    for config in analysis.configs:
        for split in analysis.splits:
            cell = analysis.cells.get((config.config_id, split))
            if cell is not None:
                rows.append([text(config.label), text(split),
                             *_metrics(cell.metrics, cell.soft, cell.plain),
                             number(cell.metrics["accuracy"].seeds)])
    for one in pooled:
        rows += [[text(f"{one.name} · ensemble: {one.how}"), text(split),
                  *_metrics(metrics, one.soft[split], one.plain[split]),
                  text(count(len(one.members), "run"))] for split, metrics in one.metrics.items()]
    return listing(
        "Other metrics, means over seeds; accuracy and macro-F1 depend on class proportions. The "
        "debiased calibration error is a root mean square over bins, zero for a calibrated model "
        "whatever the number of pictures; ECE itself grows as pictures get fewer",
        [Column("configuration"), Column("test set"),
         *(Column(head, number=True) for head in heads),
         Column("calibration error", "debiased", True), Column("n", number=True),
         Column("seeds", number=True)], rows)


def _metrics(metrics: Mapping[str, Interval], soft: Mapping[str, Interval],
             plain: Mapping[str, float | None]) -> list[Field]:
    return [scored(metrics["accuracy"]), scored(metrics["macro_f1"]), number(plain.get("auroc")),
            *(scored(soft[name]) if name in soft else number(plain.get(name))
              for name in ("nll", "brier")),
            number(plain.get("ece")), scored(soft.get("ece_debiased")),
            number(metrics["accuracy"].n[0])]


def gaps(analysis: Analysis) -> Listing:
    """Return the table of gaps in UAR and per class, on the classes that both sets have."""
    metrics = list(dict.fromkeys(name for found in analysis.gaps_on.values()
                                 for of_config in found.values() for name in of_config))
    several = len(analysis.pairs) > 1
    rows, sizes = list[list[Field]](), set[tuple[int, ...]]()
    for pair in analysis.pairs:
        for config in analysis.configs:
            found = analysis.gaps_on[pair.real].get(config.config_id)
            if found:
                rows.append([text(config.label), *([text(pair.real)] if several else []),
                             *(apart(found.get(metric)) for metric in metrics),
                             number(found["uar"].seeds)])
                sizes |= {one.n[:2] for one in found.values()}
    note = "; ".join(f"n = {pair[0]:,} synthetic and {pair[-1]:,} real pictures"
                     for pair in sorted(sizes))
    return listing("The gap in points: synthetic minus real masks", [
        Column("configuration"), *([Column("real set")] if several else []),
        *(Column(*_gap_name(metric), True) for metric in metrics),
        Column("seeds", number=True)], rows, [note] if note else [])


def _gap_name(metric: str) -> tuple[str, str]:
    """Return the column head and note for the metric of a gap."""
    name = metric.removesuffix(NET)
    return (f"recall {name.split(':')[1]}" if ":" in name else "UAR",
            "net of control" if metric.endswith(NET) else "")


def comparisons(family: Family) -> Listing:
    """Return the table of one family's pairs, with simultaneous limits beside Holm's p."""
    rows = [[text(pair.split), text(pair.among), text(f"{pair.left} − {pair.right}"),
             apart(pair.difference), p_value(pair.claim.adjusted), _verdict(pair),
             _limits(pair.simultaneous), apart(pair.gap), _limits(pair.gap_simultaneous),
             _exact(pair),
             number(pair.difference.n[0]), number(pair.difference.seeds)]
            for pair in family.pairs]
    gaps = {(one.n[:2], one.seeds) for pair in family.pairs if (one := pair.gap)}
    notes = [*family.notes, *(f"Difference of gaps: n = {n[0]:,} synthetic and {n[-1]:,} real "
                              f"pictures, {count(seeds, 'seed')}" for n, seeds in sorted(gaps))]
    if family.detectable is not None:
        notes.append("The smallest difference that this study could detect with 80 % power is "
                     f"about {100 * family.detectable:.0f} points of UAR.")
    return listing("", [
        Column("test set"), Column("among"), Column("compared"),
        Column("difference", "points of UAR", True), Column("Holm p", "", True),
        Column("verdict"), Column("simultaneous limits", "of the family", True),
        Column("difference of gaps", "points of UAR, not tested", True),
        Column("simultaneous limits", "of the gaps", True),
        Column("McNemar p", "of accuracy, exact, seed by seed", True),
        Column("n", number=True), Column("seeds", number=True)], rows, notes)


def _limits(one: Interval | None) -> Field:
    """Return limits without their value, which stands beside them."""
    if one is None or one.low is None or one.high is None:
        return Field(NONE, MISSING)
    return Field(f"[{signed(one.low)}, {signed(one.high)}]", one.low)


def _verdict(pair: Pair) -> Field:
    return Field(pair.said, look="good" if pair.winner else "plain")


def _exact(pair: Pair) -> Field:
    found = [p_value(one.p).text for one in pair.exact]
    return Field(", ".join(found) or NONE, min((one.p for one in pair.exact), default=2.0))


def robustness(analysis: Analysis, over: Overall) -> Listing:
    """Return the table of effective robustness, best configuration first."""
    assert over.robustness is not None
    above = over.robustness.above
    rows = []
    for config in analysis.configs:
        if (one := above.get(config.config_id)) is not None:
            cell = analysis.cells[config.config_id, over.split]
            rows.append([
                text(config.label), Field(signed(one.value) + f" [{signed(one.low)}, "
                                          f"{signed(one.high)}]", one.value, look="strong"),
                text("baseline" if one.baseline else "above the line" if one.low > 0 else
                     "below the line" if one.high < 0 else "on the line"),
                number(cell.n), number(len(cell.seeds))])
    rows.sort(key=lambda row: -(row[1].key or 0.0))
    return listing("Effective robustness: points of UAR on real masks above the line over the "
                   "baselines, with its 95 % prediction limits",
                   [Column("configuration"), Column("effective robustness", "points", True),
                    Column("position"), Column("n", "real", True),
                    Column("seeds", number=True)], rows, [over.robustness.fit])


def parts(found: Sequence[Subgroup]) -> Listing:
    """Return the table of all configurations on subgroups of the test sets."""
    rows = [[text(one.split), text(one.fact), text(one.value), text(one.config.label),
             scored(one.metrics["uar"]), apart(one.gap), scored(one.metrics["accuracy"]),
             text(", ".join(f"{alone['uar']:.2f}" for alone in one.by_seed.values())),
             number(one.n), number(one.people or None)] for one in found]
    few = any(no_claim(one.metrics["uar"]) for one in found)
    return listing("Subgroups by image metadata; UAR is over the classes present in the subgroup. "
                   "Other metrics are in parts.csv", [
        Column("test set"), Column("fact"), Column("value"), Column("configuration"),
        Column("UAR", number=True), Column("gap", "points, subgroup in place of its set", True),
        Column("accuracy", number=True), Column("UAR", "seed by seed"),
        Column("n", number=True), Column("people", number=True)], rows,
        ["Subgroups of people worth fewer than 8, or with fewer than 5 pictures of a class, allow "
         "no claim."] if few else [])


def runs(found: Sequence[tuple[ReportRun, str]]) -> Listing:
    """Return the table of runs with links to their folders."""
    rows = [[Field(run.run, link=link), text(run.train_on), number(run.seed), text(run.state)]
            for run, link in found]
    return listing("", [Column("run"), Column("trained on"), Column("seed", number=True),
                        Column("state")], rows)
