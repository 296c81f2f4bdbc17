"""Tests between models, each against an independent implementation or a brute-force loop."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from test_evaluate_bootstrap import simulate

from fer.evaluate.bootstrap import Draws, draw, tabulate
from fer.evaluate.effective_robustness import effective_robustness, fit_line
from fer.evaluate.intervals import SEEDS_AND_TEST, TEST_SAMPLING
from fer.evaluate.kappa import between_configs, fleiss, kappas
from fer.evaluate.significance import cochran_q, improvement, mcnemar, middle_mean, pictures_needed

RNG = np.random.default_rng(7)


def cells(configs: int, seeds: int, n: int = 150, spread: float = 0.2,
          crowd: str = "p") -> list[Draws]:
    """Return the resamples of configurations that differ in skill."""
    rng = np.random.default_rng([configs, seeds, n])
    return [draw(tabulate(simulate(rng, n, seeds, spread, crowd, 0.3 * index)), 500)
            for index in range(configs)]


@pytest.mark.parametrize("n", [20, 135, 900])
def test_mcnemar_is_a_binomial_test_of_the_pictures_that_differ(n: int) -> None:
    left, right = RNG.random(n) < 0.7, RNG.random(n) < 0.6
    found = mcnemar(3, left, right)
    only = int((left & ~right).sum()), int((right & ~left).sum())
    assert (found.seed, found.left_only, found.right_only) == (3, *only)
    assert found.p == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)


def test_mcnemar_of_a_model_with_itself_finds_nothing() -> None:
    right = RNG.random(50) < 0.5
    assert mcnemar(0, right, right).p == 1.0


@pytest.mark.parametrize("models", [3, 5])
def test_cochran_q_equals_its_formula(models: int) -> None:
    right = RNG.random((80, models)) < np.linspace(0.5, 0.8, models)
    columns, rows = right.sum(0), right.sum(1)
    statistic = (models - 1) * (models * (columns ** 2).sum() - columns.sum() ** 2) / (
        models * rows.sum() - (rows ** 2).sum())
    assert cochran_q(right) == pytest.approx(stats.chi2.sf(statistic, models - 1))
    assert cochran_q(np.repeat(right[:, :1], models, axis=1)) is None


def test_middle_mean_is_that_of_all_runs() -> None:
    found = cells(3, 5)
    runs = np.sort(np.concatenate([one.observed["uar"] for one in found]))
    one = middle_mean(found, "uar")
    assert one.value == pytest.approx(runs[3:-3].mean())  # a quarter of 15 is 3.75: three go
    assert one.low < one.value < one.high and one.kind == SEEDS_AND_TEST  # type: ignore[operator]
    assert middle_mean(cells(3, 2), "uar").kind == TEST_SAMPLING


def test_improvement_is_the_statistic_of_mann_and_whitney() -> None:
    left, right = cells(2, 6)[1:], cells(2, 6)[:1]
    value = improvement(left, right, "uar").value
    expected = stats.mannwhitneyu(left[0].observed["uar"], right[0].observed["uar"]).statistic / 36
    assert value == pytest.approx(expected) and expected > 0.5
    assert improvement(left, left, "uar").value == 0.5


def test_few_runs_that_all_win_are_not_certain_to() -> None:
    left, right = cells(2, 5)[1:], cells(2, 5)[:1]
    left[0].observed["uar"][:] = 0.9
    left[0].resampled["uar"][:] = 0.9
    one = improvement(left, right, "uar")
    assert one.value == one.high == 1.0
    # 0.3573 away, and that is 1.96 √(0.2296 × (1 + 4 × 0.3573 / 1.3573 + 4 × 0.6427 / 1.6427) / 25)
    assert one.low == pytest.approx(0.6427, abs=1e-4)


def test_a_resample_without_the_class_is_none_in_which_a_run_is_beaten() -> None:
    left, right = cells(2, 5)[1:], cells(2, 5)[:1]
    whole = improvement(left, right, "uar")
    for one in (*left, *right):
        one.resampled["uar"][:20] = np.nan
    less = improvement(left, right, "uar")
    assert less.low is not None and less.low == pytest.approx(whole.low, abs=0.03)


def test_runs_without_a_class_have_no_middle_mean() -> None:
    found = cells(1, 2)[0]
    found.observed["uar"][:] = np.nan
    assert middle_mean([found], "uar").value is None


def test_kappas_are_those_of_scikit_learn() -> None:
    predicted = RNG.integers(0, 3, (5, 200))
    predicted[1, :150] = predicted[0, :150]
    found = kappas(predicted, 3)
    for left, right in combinations(range(5), 2):
        assert found[left, right] == pytest.approx(
            cohen_kappa_score(predicted[left], predicted[right]))
    config = np.array([0, 0, 1, 1, 2])
    pooled = between_configs(predicted, config, 3)
    assert pooled[0, 1] == pytest.approx(np.mean([found[a, b] for a in (0, 1) for b in (2, 3)]))
    assert pooled[0, 0] == pytest.approx(found[0, 1]) and np.isnan(pooled[2, 2])


def test_fleiss_kappa_equals_its_formula() -> None:
    predicted = RNG.integers(0, 3, (4, 90))
    counts = np.stack([(predicted == name).sum(0) for name in range(3)], 1)
    agreed = ((counts ** 2).sum(1) - 4) / 12
    chance = ((counts.sum(0) / counts.sum()) ** 2).sum()
    assert fleiss(predicted, 3) == pytest.approx((agreed.mean() - chance) / (1 - chance))
    assert fleiss(predicted[:1], 3) is None and fleiss(np.zeros((3, 9), int), 3) is None


def test_the_line_is_that_of_scipy_on_probit_axes() -> None:
    synthetic, real = RNG.uniform(0.5, 0.95, 8), RNG.uniform(0.4, 0.8, 8)
    expected = stats.linregress(stats.norm.ppf(synthetic), stats.norm.ppf(real))
    line = fit_line(synthetic, real)
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx((expected.slope, expected.intercept))
    assert line.real(synthetic) == pytest.approx(
        stats.norm.cdf(expected.intercept + expected.slope * stats.norm.ppf(synthetic)))


def test_no_line_through_three_points_or_through_one_score() -> None:
    assert fit_line(np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.5, 0.6])) is None
    assert fit_line(np.full(5, 0.5), np.linspace(0.3, 0.6, 5)) is None


def test_a_configuration_that_closes_the_gap_lies_above_the_line() -> None:
    skills, synthetic, real = np.linspace(-0.3, 0.6, 7), [], []
    for index, skill in enumerate(skills):
        bonus = 0.7 if index == 3 else 0.0
        for found, n, crowd, extra in ((synthetic, 600, "s", 0.6), (real, 400, "r", bonus)):
            rng = np.random.default_rng([2, n])  # all configurations on the same pictures
            found.append(draw(tabulate(simulate(rng, n, 2, 0.0, crowd, skill + extra)), 300))
    result = effective_robustness(synthetic, real)
    assert result is not None
    line, above = result
    assert line.configs == 7
    for index, one in enumerate(above):
        assert one.low is not None and one.high is not None
        assert (one.low > 0) == (index == 3), (index, one)
    mean = np.mean([one.observed["uar"].mean() for one in synthetic[3:4]])
    assert above[3].value == pytest.approx(
        (real[3].observed["uar"] - line.real(synthetic[3].observed["uar"])).mean())
    assert above[3].value == pytest.approx(
        real[3].observed["uar"].mean() - float(line.real(mean)), abs=0.01)


def test_the_pictures_that_are_said_to_be_needed_give_the_power() -> None:
    skills, needed = (0.0, 0.25), []
    rng = np.random.default_rng(5)
    for _ in range(40):
        found = simulate_two(rng, 400, skills)
        power = pictures_needed(*found)
        assert power is not None and power.n == 400 and not power.seeds
        # the difference of one sample is noisy: take the true one in its place
        truth = stats.norm.cdf((np.array([0.0, 0.6, 1.0])[:, None] + skills) / 2 ** 0.5).mean(0)
        needed.append(power.needed * (power.difference / (truth[1] - truth[0])) ** 2
                      if power.needed else np.nan)
    n = int(np.nanmedian(needed))
    hits = 0
    for _ in range(200):
        left, right = simulate_two(rng, n, skills)
        apart = (right.resampled["uar"] - left.resampled["uar"])[:, 0]
        hits += abs(right.observed["uar"][0] - left.observed["uar"][0]) > 1.96 * apart.std()
    assert 0.7 <= hits / 200 <= 0.9


def simulate_two(rng: np.random.Generator, n: int, skills: tuple[float, float]
                 ) -> tuple[Draws, Draws]:
    """Return the resamples of two models on one test set."""
    state = rng.integers(1 << 30)
    left, right = (draw(tabulate(simulate(np.random.default_rng(state), n, 2, 0.0, "p", skill)),
                        300) for skill in skills)
    return _seed(left, 0), _seed(right, 1)


def _seed(draws: Draws, at: int) -> Draws:
    return Draws({k: v[at:at + 1] for k, v in draws.observed.items()},
                 {k: v[:, at:at + 1] for k, v in draws.resampled.items()},
                 draws.effective, (0,), draws.n, draws.people, draws.crowds)


def test_seeds_that_differ_more_than_the_models_need_more_seeds_not_pictures() -> None:
    rng = np.random.default_rng(1)
    left, right = (draw(tabulate(simulate(rng, 300, 5, 1.5, "p", skill)), 300)
                   for skill in (0.0, 0.02))
    found = pictures_needed(left, right)
    assert found is not None and found.needed is None and found.seeds
