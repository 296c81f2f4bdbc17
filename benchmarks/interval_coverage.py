"""Coverage of 95 % intervals on simulated test sets.

    python benchmarks/interval_coverage.py [--sets 600]      # prints a table; minutes on two cores

Whether an image is classified correctly depends on its difficulty (for all models, and for the
seeds of one), on chance, and on the quality of the seed, so that recall has a closed form:
Phi(ease / sqrt(2 + own² + spread²)).
"""

import argparse
from itertools import combinations, product

import numpy as np
from scipy.stats import norm, trim_mean

from fer.evaluate.bootstrap import difference, draw, tabulate
from fer.evaluate.intervals import Interval, interval, interval_of
from fer.evaluate.predictions import Predictions
from fer.evaluate.significance import improvement, middle_mean

CLASSES = ("negative", "neutral", "positive")
SHARES = np.array([0.15, 0.35, 0.5])
EASE = np.array([0.0, 0.6, 1.0])
FEW_SHARES = np.array([0.08, 0.36, 0.56])  # of LFW-FER: 11 of 135 pictures are negative
MASTERED = ((135, FEW_SHARES, (0.95, 0.95, 0.95)), (135, FEW_SHARES, (0.98, 0.98, 0.98)),
            (135, FEW_SHARES, (0.9, 0.9, 0.9)), (135, FEW_SHARES, (0.2, 0.7, 0.85)),
            (300, FEW_SHARES, (0.98, 0.95, 0.95)), (300, SHARES, (0.97, 0.97, 0.97)))  # recalls
SPREADS = (0.0, 0.3, 0.6)  # between seeds: none, some, large
OWN = (0.0, 0.7)  # spread of an image's difficulty for one model, shared by its seeds
SIZES, SEEDS = (100, 135, 300), (1, 5, 10)


Pictures = tuple[np.ndarray, np.ndarray]  # class and difficulty of each image


def draw_pictures(rng: np.random.Generator, n: int, shares: np.ndarray = SHARES) -> Pictures:
    """Return n images."""
    return rng.choice(3, n, p=shares), rng.normal(size=n)


def simulate(rng: np.random.Generator, n: int, seeds: int, spread: float = 0.0,
             crowd: str = "p", skill: float | np.ndarray = 0.0,
             pictures: Pictures | None = None, own: float = 0.0) -> dict[int, Predictions]:
    """Return predictions by seed on n images, two per person.

    The recall of a class is Phi((EASE + skill) / sqrt(2 + own² + spread²)).

    Args:
        own: spread of the image difficulty for this model, shared by its seeds.
        skill: for all classes, or for each class.
        pictures: images shared with other models; None draws new ones.
    """
    labels, hard = pictures or draw_pictures(rng, n)
    if own:
        hard = hard + own * rng.normal(size=n)
    predictions = {}
    for seed in range(seeds):
        noise = rng.normal(size=n) + spread * rng.normal()
        predicted = np.where(hard + noise < (EASE + skill)[labels], labels, (labels + 1) % 3)
        predictions[seed] = Predictions(
            [f"{crowd}{i}" for i in range(n)], [f"{crowd}{i // 2}" for i in range(n)], labels,
            np.eye(3, dtype=np.float32)[predicted], CLASSES)
    return predictions


def coverage(n: int, seeds: int, spread: float, sets: int, resamples: int = 600,
             recalls: tuple[float, ...] = (), shares: np.ndarray = SHARES) -> dict[str, float]:
    """Return the share of simulated test sets whose interval covers the truth, by metric.

    Args:
        recalls: the true recall of each class; if empty, those of `EASE`.
    """
    rng, wide = np.random.default_rng([seeds, n]), np.sqrt(2 + spread ** 2)
    skill = norm.ppf(recalls) * wide - EASE if recalls else np.zeros(3)
    recall = norm.cdf((EASE + skill) / wide)
    truth = {"uar": recall.mean(), "accuracy": (recall * shares).sum(),
             "recall:negative": recall[0]}
    hits: dict[str, list[bool]] = {name: [] for name in truth}
    for number in range(sets):  # new names each time: resamples are a function of the names
        pictures = draw_pictures(rng, n, shares)
        found = interval(tabulate(simulate(rng, n, seeds, spread, f"{number}-", skill, pictures)),
                         resamples=resamples)
        for name, value in truth.items():
            one = found[name]
            if one.low is not None and one.high is not None:  # else one person has the rare class
                hits[name].append(one.low <= value <= one.high)
    return {name: float(np.mean(every)) for name, every in hits.items()}


def pooled_coverage(n: int, seeds: int, spread: float, configs: int, sets: int,
                    own: float = 0.0, resamples: int = 400) -> dict[str, float]:
    """Return the share of simulated test sets whose interval covers the truth, for pooled values.

    These are the interquartile mean of UAR (unweighted average recall) over the runs of some
    configurations, and the probability that a run of another value, which is equal, better or much
    better, beats one of theirs on sets of n images; its truth is the mean over all simulated sets.
    """
    rng = np.random.default_rng([seeds, n, configs])
    apart = 0.2  # between configurations
    skills = {"even": 0.0, "better": 0.3, "much better": 1.0}  # of another value
    lines = [apart * number for number in range(configs)]
    seed_effect, wide = spread * rng.normal(size=100_000), np.sqrt(2 + own ** 2)
    truth = {"middle": trim_mean(np.concatenate([
        norm.cdf((EASE[:, None] + skill - seed_effect) / wide).mean(0) for skill in lines]), 0.25)}
    found: dict[str, list[Interval]] = {name: [] for name in ("middle", *skills)}
    for number in range(sets):
        pictures = draw_pictures(rng, n)
        mine, *others = ([draw(tabulate(simulate(
            rng, n, seeds, spread, f"{number}-", skill + more, pictures, own)), resamples)
            for skill in lines] for more in (0.0, *skills.values()))
        found["middle"].append(middle_mean(mine, "uar"))
        for name, other in zip(skills, others, strict=True):
            found[name].append(improvement(other, mine, "uar"))
    truth |= {name: float(np.mean([one.value for one in found[name]])) for name in skills}
    return {name: float(np.mean([one.low <= truth[name] <= one.high for one in every]))  # type: ignore[operator]
            for name, every in found.items()}


def compared_coverage(n: int, seeds: int, spread: float, sets: int, own: float = 0.0,
                      resamples: int = 300) -> dict[str, float]:
    """Return how often UAR intervals of equal models cover zero, and the error rate of families.

    `paired`: two models on the same images; `gap`: on images of other people; `gaps`: the gaps of
    two models, on the same two sets; `families`: the share of families of four equal models, six
    pairs, in which a difference is claimed.
    """
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng([n, seeds, 7])
    counts = dict.fromkeys(("paired", "gap", "gaps", "families"), 0)
    for number in range(sets):
        pictures = draw_pictures(rng, n)
        others = draw_pictures(rng, n)
        models, on_others = (
            [draw(tabulate(simulate(rng, n, seeds, spread, f"{number}{crowd}-", pictures=seen,
                                    own=own)), resamples) for _ in range(count)]
            for crowd, seen, count in (("", pictures, 4), ("x", others, 2)))
        pairs = [interval_of(difference(left, right), "uar")
                 for left, right in combinations(models, 2)]
        apart = [one.low > 0 or one.high < 0 for one in pairs]  # type: ignore[operator]
        adjusted = multipletests([one.p for one in pairs], method="holm")[1]
        gap, other = (difference(models[place], on_others[place]) for place in range(2))
        counts["paired"] += not apart[0]
        for name, draws in (("gap", gap), ("gaps", difference(gap, other))):
            one = interval_of(draws, "uar")
            counts[name] += one.low <= 0 <= one.high  # type: ignore[operator]
        counts["families"] += any(out and p < 0.05 for out, p in zip(apart, adjusted, strict=True))
    return {name: count / sets for name, count in counts.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=600)
    sets = parser.parse_args().sets
    for seeds, n, spread in product(SEEDS, SIZES, SPREADS):
        if seeds == 1 and spread:
            continue  # with one seed the interval covers test sampling only
        found = coverage(n, seeds, spread, sets)
        print(f"{seeds:2} seeds, {n:3} pictures, spread {spread}: " + ", ".join(
            f"{name} {100 * share:.1f} %" for name, share in found.items()), flush=True)
    for seeds, (n, shares, recalls) in product((1, 5, 10), MASTERED):
        found = coverage(n, seeds, 0.3 * (seeds > 1), sets, 600, recalls, shares)
        print(f"{seeds:2} seeds, {n} pictures, shares {shares}, recalls {recalls}: " + ", ".join(
            f"{metric} {100 * share:.1f} %" for metric, share in found.items()), flush=True)
    for seeds, spread, own in product((5, 10), SPREADS, OWN):
        found = compared_coverage(135, seeds, spread, sets, own)
        print(f"equal models, {seeds} seeds, spread {spread}, own {own}: " + ", ".join(
            f"{name} {100 * share:.1f} %" for name, share in found.items()), flush=True)
    for seeds, configs, spread, own in product((5, 10), (1, 3), SPREADS[1:], OWN):
        found = pooled_coverage(135, seeds, spread, configs, sets, own)
        print(f"{configs} × {seeds} seeds, spread {spread}, own {own}: " + ", ".join(
            f"{name} {100 * share:.1f} %" for name, share in found.items()), flush=True)
