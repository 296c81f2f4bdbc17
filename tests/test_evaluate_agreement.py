"""Agreement, merged labels and label errors equal independent implementations and publications."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from fer.evaluate.agreement import (
    Agreement,
    cohen_kappa,
    confusion_between,
    fleiss_kappa,
    krippendorff_alpha,
    majority,
)
from fer.evaluate.dawid_skene import dawid_skene, fit_dawid_skene
from fer.evaluate.label_errors import find_label_errors

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve
# units, five values, missing data; alpha for nominal data is 0.743.
EXAMPLE_C = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""
# Example B: two observers, binary data; alpha is 0.095.
EXAMPLE_B = """
0 1 0 0 0 0 0 0 1 0
1 1 1 0 0 1 0 0 0 0"""
# Fleiss 1971's table in the form of Wikipedia, "Fleiss' kappa": fourteen raters, ten subjects,
# five categories; kappa is 0.210.
FLEISS = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
          [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
# Dawid and Skene 1979, table 1: five anaesthetists judge the fitness of 45 patients in four
# categories; the first of them three times. Table 4 has the prevalences.
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343
1111111 2223212 1211111 1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222
1111111 1111111 2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222 2223232 4334343
2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222"""
OBSERVERS = (0, 0, 0, 1, 2, 3, 4)
PREVALENCES = (0.40, 0.42, 0.11, 0.07)


def votes_of(text: str, first: int) -> np.ndarray:
    rows = [[-1 if one == "." else int(one) - first for one in line.split()]
            for line in text.strip().splitlines()]
    return np.array(rows).T


def expanded(counts: list[list[int]]) -> np.ndarray:
    return np.array([np.repeat(np.arange(len(row)), row) for row in counts])


def alpha_by_definition(votes: np.ndarray) -> float:
    """Return alpha pair by pair, as Krippendorff (2004, section 11.3) defines it."""
    observed, values = 0.0, []
    for row in votes:
        known = [one for one in row if one >= 0]
        if len(known) > 1:
            values += known
            observed += sum(a != b for a, b in itertools.permutations(known, 2)) / (len(known) - 1)
    n = len(values)
    expected = sum(a != b for a, b in itertools.permutations(values, 2)) / (n * (n - 1))
    return 1 - observed / n / expected if expected else math.nan


def random_votes(seed: int, missing: float = 0.3, annotators: int = 4, n: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, n, p=[0.15, 0.35, 0.5])
    noisy = np.where(rng.random((n, annotators)) < 0.7, truth[:, None],
                     rng.integers(0, 3, (n, annotators)))
    return np.where(rng.random((n, annotators)) < missing, -1, noisy)


@pytest.mark.parametrize(("text", "first", "alpha"), [(EXAMPLE_C, 1, 0.743), (EXAMPLE_B, 0, 0.095)])
def test_alpha_is_that_of_krippendorff_s_examples(text: str, first: int, alpha: float) -> None:
    found = krippendorff_alpha(votes_of(text, first), 5)
    assert found.value == pytest.approx(alpha, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_its_definition_pair_by_pair(seed: int) -> None:
    votes = random_votes(seed)
    assert krippendorff_alpha(votes, 3).value == pytest.approx(alpha_by_definition(votes))


def test_fleiss_kappa_is_that_of_the_published_table() -> None:
    found = fleiss_kappa(expanded(FLEISS), 5)
    assert found.value == pytest.approx(0.210, abs=5e-4) and found.n == 10


def test_fleiss_kappa_uses_the_pictures_with_as_many_votes_as_most_have() -> None:
    votes = np.concatenate([expanded(FLEISS), np.full((3, 14), -1)])
    votes[10, :3] = 0  # three votes only
    votes[11, 0] = 1
    found = fleiss_kappa(votes, 5)
    assert found == fleiss_kappa(expanded(FLEISS), 5)


@pytest.mark.parametrize("seed", range(5))
def test_cohen_s_kappa_is_that_of_scikit_learn(seed: int) -> None:
    votes = random_votes(seed, missing=0.2, annotators=2)
    both = (votes >= 0).all(axis=1)
    found = cohen_kappa(votes[:, 0], votes[:, 1], 3)
    assert found.value == pytest.approx(cohen_kappa_score(*votes[both].T)) and found.n == both.sum()
    table = confusion_between(votes[:, 0], votes[:, 1], 3)
    assert table.sum() == both.sum() and table[0, 1] == ((votes == [0, 1]).all(axis=1)).sum()


@pytest.mark.parametrize(("votes", "value"), [
    ([[0, 0], [1, 1]], 1.0), ([[0, 0], [0, 0]], None), ([[0, -1], [1, -1]], None),
    ([[-1, -1]], None), (np.zeros((0, 2), int), None)])
def test_what_is_undefined_is_none(votes: list[list[int]], value: float | None) -> None:
    matrix = np.array(votes).reshape(-1, 2)
    assert krippendorff_alpha(matrix, 3).value == value
    assert cohen_kappa(matrix[:, 0], matrix[:, 1], 3).value == value
    assert fleiss_kappa(matrix, 3).value == value


def test_limits_are_the_jackknife_s_and_people_are_left_out_together() -> None:
    votes = random_votes(1)
    found = krippendorff_alpha(votes, 3)
    judged = np.flatnonzero((votes >= 0).sum(axis=1) > 1)
    without = np.array([alpha_by_definition(np.delete(votes, at, axis=0)) for at in judged])
    n = len(judged)
    error = math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    from scipy.stats import t

    assert found.value is not None and found.low is not None and found.high is not None
    assert found.value - found.low == pytest.approx(t.ppf(0.975, n - 1) * error)
    twice = np.concatenate([votes, votes])
    people = [f"p{number % len(votes)}" for number in range(len(twice))]
    alone, grouped = krippendorff_alpha(twice, 3), krippendorff_alpha(twice, 3, people)
    assert alone.low is not None and grouped.low is not None and grouped.low < alone.low
    two = krippendorff_alpha(votes, 3, ["a", "b"] * (len(votes) // 2))
    assert two == Agreement(found.value, None, None, found.n)


@pytest.mark.slow
def test_limits_of_alpha_cover_it() -> None:
    truth = krippendorff_alpha(random_votes(0, n=200_000), 3).value
    found = [krippendorff_alpha(random_votes(seed, n=80), 3) for seed in range(1, 301)]
    covered = np.mean([one.low <= truth <= one.high for one in found])  # type: ignore[operator]
    assert 0.92 < covered < 0.98


def test_a_majority_has_no_ties() -> None:
    votes = np.array([[0, 0, 1], [0, 1, -1], [-1, -1, -1], [2, -1, -1], [0, 1, 2]])
    assert majority(votes, 3).tolist() == [0, -1, -1, 2, -1]


def em_by_loops(votes: np.ndarray, classes: int, smoothing: float, steps: int) -> np.ndarray:
    """Return Dawid and Skene's posterior, written out (equations 2.3 to 2.5 of the paper)."""
    n, annotators = votes.shape
    posterior = np.zeros((n, classes))
    for i, row in enumerate(votes):
        for one in row:
            posterior[i, one] += 1 / len(row)
    for _ in range(steps):
        prior = [sum(posterior[i, c] for i in range(n)) / n for c in range(classes)]
        error = np.zeros((annotators, classes, classes))
        for a in range(annotators):
            for c in range(classes):
                for said in range(classes):
                    error[a, c, said] = smoothing + sum(
                        posterior[i, c] for i in range(n) if votes[i, a] == said)
                error[a, c] /= error[a, c].sum()
        for i in range(n):
            weight = [prior[c] * math.prod(error[a, c, votes[i, a]] for a in range(annotators))
                      for c in range(classes)]
            posterior[i] = np.array(weight) / sum(weight)
    return posterior


def test_dawid_skene_is_that_of_its_equations() -> None:
    votes = random_votes(3, missing=0.0, annotators=4, n=60)
    found = dawid_skene(votes, 3)
    assert np.allclose(found.posterior, em_by_loops(votes, 3, 0.01, 200), atol=1e-3)


def test_dawid_skene_finds_the_published_prevalences_of_the_patients() -> None:
    given = np.zeros((45, 5, 4))
    for patient, row in enumerate(PATIENTS.split()):
        for observer, said in zip(OBSERVERS, row, strict=True):
            given[patient, observer, int(said) - 1] += 1
    assert given.sum() == 45 * 7
    found = fit_dawid_skene(given, smoothing=0.0)
    assert found.prevalence == pytest.approx(PREVALENCES, abs=0.005)


def test_dawid_skene_trusts_who_is_right_and_takes_missing_votes() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 300)
    skill = [0.95, 0.9, 0.4, 0.4, 0.4]
    votes = np.stack([np.where(rng.random(300) < one, truth, rng.integers(0, 3, 300))
                      for one in skill], axis=1)
    votes[rng.random(votes.shape) < 0.2] = -1
    found = dawid_skene(votes, 3)
    plain = majority(votes, 3)
    right = (found.posterior.argmax(axis=1) == truth).mean()
    assert right > (plain == truth).mean() + 0.02
    own = [float(np.trace(one)) / 3 for one in found.skill]
    assert min(own[:2]) > max(own[2:]) + 0.2
    sure = found.posterior.max(axis=1)
    assert sure[found.posterior.argmax(axis=1) == truth].mean() > sure[
        found.posterior.argmax(axis=1) != truth].mean()
    with pytest.raises(ValueError, match="no votes"):
        dawid_skene(np.full((3, 2), -1), 3)


@pytest.mark.parametrize("skill", [1.5, 2.5, 4.0])
def test_planted_label_errors_are_at_the_top_of_the_list(skill: float) -> None:
    rng = np.random.default_rng(int(skill * 10))
    truth = rng.choice(3, 600, p=[0.12, 0.36, 0.52])
    logits = skill * np.eye(3)[truth] + rng.normal(size=(600, 3))
    given, planted = truth.copy(), rng.choice(600, 30, replace=False)
    given[planted] = (given[planted] + rng.integers(1, 3, 30)) % 3
    found = find_label_errors(given, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    top = set(found.order[:60].tolist())
    assert len(top & set(planted.tolist())) >= 15
    assert sorted(found.order.tolist()) == list(range(600))
    assert not found.suspect[found.order][np.argmin(found.suspect[found.order]):].any()


def test_a_class_without_pictures_makes_nobody_suspect() -> None:
    given = np.array([0, 0, 1, 1])
    shares = np.array([[.7, .2, .1], [.1, .1, .8], [.2, .7, .1], [.6, .3, .1]])
    found = find_label_errors(given, shares)
    assert np.isnan(found.thresholds[2]) and found.suggested[1] == 2
    assert found.suspect.tolist() == [False, False, False, True] and found.order[0] == 3
