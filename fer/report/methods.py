"""The methods section of a report: what is needed to cite or reproduce a number."""

from importlib.metadata import version

from fer.evaluate import intervals, significance
from fer.evaluate.effective_robustness import LEAST_BASELINES
from fer.evaluate.metrics import CALIBRATION_BINS
from fer.report.analysis import Analysis
from fer.report.overall import MOST_COMPARED
from fer.report.read.provenance import Provenance

COMPUTED_WITH = ("numpy", "scipy", "scikit-learn")


def methods(analysis: Analysis, origin: Provenance) -> tuple[str, ...]:
    """Return the paragraphs: metrics, intervals, gap, ranks and provenance."""
    return (
        "The unweighted average recall (UAR, balanced accuracy) is the mean recall over the "
        "classes present in the test set; macro-F1 is a mean over the same classes. A "
        "configuration is everything but the seed. Its score is the mean over its seeds, and "
        "nothing else is pooled. AUROC is the mean of each class against the rest, NLL is in nats, "
        "the Brier score is summed over the classes, "
        f"and ECE uses {CALIBRATION_BINS} equal-width bins.",
        "Intervals are 95 % intervals over people and seeds, without random numbers: each person "
        "with all pictures is left out in turn (jackknife; Efron and Stein 1981), the same people "
        "for every model, so differences on one test set are paired, and so are sets of the same "
        "people. For scores of counts half a picture right and half wrong is added to each class "
        "(the printed score is without them, and the limits hold it). The variance between seeds "
        "is pooled over the configurations of the study, relative to p(1 − p), or is the "
        "configuration's own where that is larger; the interaction of people and seeds is counted "
        "once. The limits are those of one t distribution (Satterthwaite 1946); the people count "
        "for (Σa)²/Σa² equally weighted ones, a being a person's share of the pictures, summed "
        "over classes. Limits of a single score with more than two pictures per person are the "
        "outer ones of the plain and the logit scale.",
        "The gap is the synthetic minus the real score of the same models, in UAR and in recall "
        "per class, over the classes that both sets have. Accuracy and macro-F1 depend on the "
        "class proportions, so they have no gap.",
        "A difference is claimed where Holm's adjusted p within the family of planned comparisons "
        "is below 0.05. Against a baseline, a family is the other values on one test set, each on "
        "average over the other settings; without one, all pairs on all test sets. Simultaneous "
        "limits are Bonferroni's. Nothing is claimed where people are worth fewer than "
        f"{significance.LEAST_WORTH} ({significance.LEAST_WORTH_OF_MANY} in families of more than "
        f"{significance.MANY}), where a class has fewer than {significance.LEAST_PICTURES} "
        "pictures, or where the baseline's seeds vary more than four times as much as the pooled "
        "ones; there is no "
        f"interval below {intervals.LEAST_WORTH} people. With one seed a configuration, a "
        "difference is one between these trained models only. With fewer than "
        f"{significance.KNOWN_SPREAD} degrees of freedom between seeds a claim is marked. Standing "
        "applies the same rule with Holm's adjustment over all pairs of configurations, up to "
        f"{MOST_COMPARED} configurations. McNemar's exact test is reported per seed for reference; "
        "it assumes independent pictures and tests accuracy, so it may disagree with UAR.",
        "Effective robustness is the distance on real masks from the least-squares line over the "
        "study's baselines on probit axes (Miller et al. 2021), with 95 % prediction limits; it "
        f"takes {LEAST_BASELINES} baselines. Ensembles average probabilities; the greedy one is "
        "selected on validation (Caruana et al. 2004). Their intervals are of that one ensemble. "
        "The debiased calibration error is the root of the mean product of confidence minus "
        "correctness over pairs of pictures of different people in a bin (Kumar et al. 2019, "
        "Widmann et al. 2019); a negative mean counts as zero.",
        "The smallest difference that the study could detect is (the t quantile of the adjusted "
        "two-sided 5 % level + that of 80 % power) standard errors (Bloom 1995), the median over "
        "the planned comparisons. Attention maps are Grad-CAM (Selvaraju et al. 2017) of the "
        "predicted class at the last feature map before the classifier. The difference of two gaps "
        "is a difference of differences; it is reported beside the tests.",
        _framing(origin), *_origin(analysis, origin))


def _framing(origin: Provenance) -> str:
    """Return how faces are framed in the test sets, or that it was not measured."""
    if not origin.framing:
        return ("How faces are framed in the test sets was not measured (python launch/data.py "
                "verify, with the face detector): a crop that differs between them would be part "
                "of the gap.")
    return ("How faces are framed in the test sets, by the CenterFace detector (Xu et al. 2019): "
            + "; ".join(f"{split}: {said}" for split, said in origin.framing.items()) + ".")


def _origin(analysis: Analysis, origin: Provenance) -> list[str]:
    """Return versions, hardware and digests, as far as the runs recorded them."""
    lines = [origin.settings] if origin.settings else []
    lines.append("Computed with " + ", ".join(
        f"{name} {version(name)}" for name in COMPUTED_WITH) + ".")
    lines += [f"{head}: {'; '.join(found)}." for head, found in (
        ("Initial weights", origin.starts), ("Weights kept", origin.selection),
        ("Trained with", origin.versions), ("Commit", origin.commits),
        ("Hardware", origin.machines)) if found]
    if origin.digests:
        lines.append("Digests of initial weights, training and validation data: " + "; ".join(
            f"{split} {' and '.join(found)}" for split, found in origin.digests.items()) + ".")
    return lines
