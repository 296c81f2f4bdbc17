"""What may be claimed: Holm, McNemar, the guards, and the smallest detectable difference."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from fer.evaluate.effective_robustness import fit_line
from fer.evaluate.intervals import Interval
from fer.evaluate.mcnemar import mcnemar
from fer.evaluate.significance import (
    POORLY_KNOWN,
    THESE_MODELS,
    UNEVEN,
    claims,
    detectable,
    holm,
    no_claim,
)

RNG = np.random.default_rng(7)
CLEAR = Interval(0.1, 0.05, 0.15, "seeds and test sampling", 5, (135,), (60,), 0.0004, 0.025, 40.0,
                 50.0, 30, 12)


@pytest.mark.parametrize("n", [20, 135, 900])
def test_mcnemar_is_a_binomial_test_of_the_pictures_that_differ(n: int) -> None:
    left, right = RNG.random(n) < 0.7, RNG.random(n) < 0.6
    found = mcnemar(3, left, right)
    only = int((left & ~right).sum()), int((right & ~left).sum())
    assert (found.seed, found.left_only, found.right_only) == (3, *only)
    assert found.p == pytest.approx(min(1, 2 * stats.binom.cdf(min(only), sum(only), 0.5)))


def test_mcnemar_of_a_model_with_itself_finds_nothing() -> None:
    right = RNG.random(50) < 0.5
    assert mcnemar(0, right, right).p == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([]) == []


def test_a_clear_difference_is_claimed_in_its_direction() -> None:
    other = replace(CLEAR, value=-0.1, low=-0.15, high=-0.05)
    assert [one.sign for one in claims([CLEAR, other])] == [1, -1]
    assert [one.reason for one in claims([CLEAR, other])] == ["", ""]


@pytest.mark.parametrize(("change", "said"), [
    ({"worth": 7.4}, "people worth 7 of 8"), ({"worth": 2.0, "low": None, "p": None}, "too few"),
    ({"smallest": 3}, "a class has 3 of 5 pictures"), ({"seed_df": 0}, THESE_MODELS)])
def test_the_guards_allow_no_claim_and_say_why(change: dict[str, object], said: str) -> None:
    one = replace(CLEAR, **change)  # type: ignore[arg-type]
    assert said in no_claim(one)
    (found,) = claims([one])
    assert found.sign == 0 and said in found.reason
    assert (found.significant == 1) == (said == THESE_MODELS)


def test_families_of_more_than_eight_need_more_people() -> None:
    one = replace(CLEAR, worth=12.0, p=1e-6)
    assert [found.sign for found in claims([one] * 8)] == [1] * 8
    assert {found.reason for found in claims([one] * 9)} == {
        "people worth 12 of 15 that a claim needs"}


def test_few_degrees_of_freedom_between_seeds_mark_a_claim() -> None:
    marks = [claims([replace(CLEAR, seed_df=df)])[0].marked for df in (5, 6)]
    assert marks == [POORLY_KNOWN, ""]


def test_a_baseline_of_wild_seeds_allows_no_claim() -> None:
    (found,) = claims([CLEAR], replace(CLEAR, uneven=True))
    assert (found.sign, found.reason) == (0, UNEVEN)


def test_the_detectable_difference_is_found_in_four_of_five_studies() -> None:
    far = detectable(CLEAR, 1)
    assert far is not None
    t = stats.nct(CLEAR.df, far / CLEAR.error)
    bar = stats.t.ppf(0.975, CLEAR.df)
    assert 1 - t.cdf(bar) + t.cdf(-bar) == pytest.approx(0.8, abs=0.01)
    more = detectable(CLEAR, 11)
    assert more is not None and more > far
    assert detectable(replace(CLEAR, low=None), 1) is None


def test_prediction_limits_are_those_of_one_more_model() -> None:
    """Of a line and scatter that are known, 95 % of further models lie within the limits."""
    rng, inside = np.random.default_rng(3), []
    for _ in range(400):
        x = rng.uniform(0, 1.2, 7)
        y = 0.8 * x - 0.3 + 0.1 * rng.normal(size=7)
        line = fit_line(list(zip(stats.norm.cdf(x[1:]), stats.norm.cdf(y[1:]), strict=True)))
        assert line is not None
        synthetic, real = stats.norm.cdf(x[0]), stats.norm.cdf(y[0])
        inside.append(line.real(synthetic, -1) <= real <= line.real(synthetic, 1))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.035)


def test_no_line_through_four_baselines_or_through_one_score() -> None:
    assert fit_line([(0.5, 0.4), (0.6, 0.5), (0.7, 0.6), (0.8, 0.65)]) is None
    assert fit_line([(0.5, real) for real in (0.3, 0.4, 0.5, 0.6, 0.65)]) is None
