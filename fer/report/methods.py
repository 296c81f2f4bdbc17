"""What has to be known to cite or to repeat a number of a report."""

from importlib.metadata import version

from fer.evaluate.bootstrap import RESAMPLES, SEEDS_NEEDED
from fer.evaluate.metrics import CALIBRATION_BINS
from fer.evaluate.significance import POWER
from fer.report.analysis import FEW_PICTURES, Analysis
from fer.report.overall import MOST_COMPARED
from fer.report.read.provenance import Provenance

COMPUTED_WITH = ("numpy", "scipy", "scikit-learn", "statsmodels")


def methods(analysis: Analysis, origin: Provenance) -> tuple[str, ...]:
    """Return the paragraphs: metrics, intervals, gap, ranks, what it was run with."""
    return (
        "UAR is the mean of the recalls of the classes that the test set has (balanced accuracy);"
        " macro-F1 is a mean over the same classes. A configuration is everything but the seed; "
        "its number is the mean over its seeds, and nothing else is pooled. AUROC is the mean of "
        "each class against the rest; NLL is in nats, the Brier score is summed over the classes, "
        f"ECE has {CALIBRATION_BINS} equal-width bins.",
        f"Intervals are 95 % bootstrap intervals of {RESAMPLES:,} resamples of people, "
        "not of pictures: all pictures of a person are drawn together, and the same people are "
        "drawn for every model, so that differences on one test set are paired. With "
        f"{SEEDS_NEEDED} seeds or more, seeds are resampled too; what other people do to each "
        "seed in its own way is counted once, with the seeds. For small numbers the deviations of "
        "each level are widened by √(n/(n−1)), and their sum from a normal distribution's quantile "
        "to that of a mixture of t distributions, one with the degrees of freedom of each level, "
        "in the proportion of their variances (people's is normal for accuracy and recall where "
        "they have two pictures each at most on average); p of a difference is that mixture's. "
        "Limits of a score are as far to either side of it on the logit axis, those of a "
        "difference or an interquartile mean are percentiles.",
        "The gap is synthetic minus real of the same models, in UAR and recall per class; people "
        "of the two sets are drawn independently where they are different people. Accuracy and "
        "macro-F1 move with the class mix, so their gaps are given with the class shares of the "
        "real set in both sets.",
        "A rank is claimed where Holm's adjusted p within the family of planned comparisons is "
        "below 0.05 and the interval excludes zero. Everything else is tied, and nothing is "
        f"ranked on fewer than {FEW_PICTURES} pictures. Standing: the same with Holm over all "
        f"pairs of configurations, where these are {MOST_COMPARED} at most. McNemar's exact test "
        "and Cochran's Q stand beside, seed by seed; they take pictures for independent and ask "
        "how many are right, which is accuracy: where classes differ in size they may see what "
        "UAR does not, and the reverse.",
        "The interquartile mean leaves out the best and the worst quarter, of four runs or more; "
        "the probability of improvement is that of a run to beat one of another value, alike in "
        "all else (Agarwal et al. 2021), on a test set of this size, with Newcombe's limits (2006, "
        f"method 5), widened by what other people do to it, for {SEEDS_NEEDED} seeds or more. "
        "Effective robustness is "
        "the distance on real masks from the least-squares line over all configurations on "
        "probit axes (Miller et al. 2021), fitted again in every resample; its limits do not hold "
        "that other configurations would have made another line. Ensembles "
        "average probabilities; the greedy one is chosen on validation (Caruana et al. 2004), "
        "their intervals hold test sampling only.",
        "How many real pictures would tell the two best apart: a two-sided test at 5 % with "
        f"{100 * POWER:.0f} % power, if they differ by what was seen; test sampling shrinks with "
        "pictures, the spread of seeds does not. Where every resample is alike (a recall of 0 or "
        "1), limits are Wilson's (1927). Agreement is Cohen's kappa between two runs, Fleiss' "
        "kappa among all. Where models look is Grad-CAM (Selvaraju et al. 2017) of the answer at "
        "the last map before the class layer. By how much two gaps differ is a difference of "
        "differences of the same resamples; it stands beside the tests.",
        *_origin(analysis, origin))


def _origin(analysis: Analysis, origin: Provenance) -> list[str]:
    """Return versions, machines and digests, as far as the runs say them."""
    lines = [origin.settings] if origin.settings else []
    lines.append("Computed with " + ", ".join(
        f"{name} {version(name)}" for name in COMPUTED_WITH) + ".")
    lines += [f"{head}: {'; '.join(found)}." for head, found in (
        ("Trained with", origin.versions), ("Commit", origin.commits),
        ("Hardware", origin.machines)) if found]
    if origin.digests:
        lines.append("Digests of what runs began with, trained and validated on: " + "; ".join(
            f"{split} {' and '.join(found)}" for split, found in origin.digests.items()) + ".")
    return lines
