"""The methods section of a report: what is needed to cite or reproduce a number."""

from importlib.metadata import version

from fer.evaluate.bootstrap import RESAMPLES, SEEDS_NEEDED
from fer.evaluate.metrics import CALIBRATION_BINS
from fer.evaluate.significance import POWER
from fer.report.analysis import FEW_PICTURES, Analysis
from fer.report.overall import MOST_COMPARED
from fer.report.read.provenance import Provenance

COMPUTED_WITH = ("numpy", "scipy", "scikit-learn", "statsmodels")


def methods(analysis: Analysis, origin: Provenance) -> tuple[str, ...]:
    """Return the paragraphs: metrics, intervals, gap, ranks and provenance."""
    return (
        "The unweighted average recall (UAR, balanced accuracy) is the mean recall over the "
        "classes present in the test set; macro-F1 is a mean over the same classes. A "
        "configuration is everything but the seed. Its score is the mean over its seeds, and "
        "nothing else is pooled. AUROC is the mean of each class against the rest, NLL is in nats, "
        "the Brier score is summed over the classes, "
        f"and ECE uses {CALIBRATION_BINS} equal-width bins.",
        f"Intervals are 95 % bootstrap intervals from {RESAMPLES:,} resamples of people, "
        "not of pictures: all pictures of a person are drawn together, and the same people are "
        "drawn for every model, so differences on one test set are paired. With "
        f"{SEEDS_NEEDED} seeds or more, seeds are resampled too; the interaction of people and "
        "seeds is counted once, with the seeds. As a small-sample correction, the deviations of "
        "each level are widened by √(n/(n−1)), and their sum from the quantile of a normal "
        "distribution to that of a mixture of t distributions, one with the degrees of freedom of "
        "each level, weighted by their variances (normal for people, for accuracy and recall with "
        "at most two pictures per person on average). The p-value of a difference is that of the "
        "same mixture. Intervals of a score are symmetric on the logit scale; those of a "
        "difference or an interquartile mean are percentile intervals.",
        "The gap is the synthetic minus the real score of the same models, in UAR and in recall "
        "per class; people of the two sets are drawn independently where they are different "
        "people. Accuracy and macro-F1 depend on the class proportions, so their gaps are computed "
        "with the class proportions of the real set in both sets.",
        "A difference is claimed where Holm's adjusted p within the family of planned comparisons "
        "is below 0.05 and the interval excludes zero. All other pairs are reported as tied, and "
        f"nothing is ranked on fewer than {FEW_PICTURES} pictures. Standing applies the same rule "
        "with Holm's adjustment over all pairs of configurations, up to "
        f"{MOST_COMPARED} configurations. McNemar's exact test and Cochran's Q are reported per "
        "seed for reference. They assume independent pictures and test accuracy, so with unequal "
        "class sizes they may disagree with UAR.",
        "The interquartile mean drops the best and the worst quarter, given four runs or more. "
        "The probability of improvement is that a run beats a run of another value that is equal "
        "in everything else (Agarwal et al. 2021), on a test set of this size, with Newcombe's "
        "limits (2006, method 5), widened by the sampling of people, for "
        f"{SEEDS_NEEDED} seeds or more. Effective robustness is "
        "the distance on real masks from the least-squares line over all configurations on "
        "probit axes (Miller et al. 2021), fitted again in every resample; its limits do not "
        "include the choice of configurations. Ensembles "
        "average probabilities. The greedy one is selected on validation (Caruana et al. 2004). "
        "Their intervals include test sampling only.",
        "The number of real pictures needed to distinguish the two best configurations is that of "
        f"a two-sided test at 5 % with {100 * POWER:.0f} % power, for the observed difference; "
        "test sampling shrinks with the number of pictures, the variation between seeds does not. "
        "Where all resamples are equal (a recall of 0 or 1), the limits are Wilson's (1927). "
        "Agreement is Cohen's kappa between two runs and Fleiss' kappa among all. Attention maps "
        "are Grad-CAM (Selvaraju et al. 2017) of the predicted class at the last feature map "
        "before the classifier. The difference of two gaps is a difference of differences in the "
        "same resamples; it is reported beside the tests.",
        *_origin(analysis, origin))


def _origin(analysis: Analysis, origin: Provenance) -> list[str]:
    """Return versions, hardware and digests, as far as the runs recorded them."""
    lines = [origin.settings] if origin.settings else []
    lines.append("Computed with " + ", ".join(
        f"{name} {version(name)}" for name in COMPUTED_WITH) + ".")
    lines += [f"{head}: {'; '.join(found)}." for head, found in (
        ("Trained with", origin.versions), ("Commit", origin.commits),
        ("Hardware", origin.machines)) if found]
    if origin.digests:
        lines.append("Digests of initial weights, training and validation data: " + "; ".join(
            f"{split} {' and '.join(found)}" for split, found in origin.digests.items()) + ".")
    return lines
