"""Bootstrap intervals: equal to a loop, covering what they should, honest about few seeds."""

import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from scipy.stats import norm, t
from sklearn.metrics import balanced_accuracy_score, f1_score, recall_score

sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from interval_coverage import (
    CLASSES,
    EASE,
    FEW_SHARES,
    SHARES,
    compared_coverage,
    coverage,
    draw_pictures,
    pooled_coverage,
    simulate,
)

from fer.evaluate.bootstrap import average, difference, draw, tabulate, weights
from fer.evaluate.intervals import (
    SEEDS_AND_TEST,
    TEST_SAMPLING,
    Interval,
    Level,
    interval,
    interval_of,
    limits_around,
    limits_of,
    p_value,
)
from fer.evaluate.predictions import Predictions
from fer.evaluate.significance import improvement, middle_mean


def repeated(table: Predictions, counts: dict[str, int]) -> tuple[list[int], list[int]]:
    """Return labels and predictions with each person's pictures as often as drawn."""
    labels: list[int] = []
    predicted: list[int] = []
    for person, times in counts.items():
        for index, name in enumerate(table.clusters):
            if name == person:
                labels += [int(table.labels[index])] * times
                predicted += [int(table.predicted[index])] * times
    return labels, predicted


def test_resamples_equal_a_loop_over_people() -> None:
    found = simulate(np.random.default_rng(0), 60, 2)
    tables = tabulate(found)
    draws = draw(tables, resamples=20)
    drawn = weights(tables.people, 20)
    for row in range(20):
        counts = dict(zip(tables.people, drawn[row].astype(int).tolist(), strict=True))
        for column, seed in enumerate(tables.seeds):
            labels, predicted = repeated(found[seed], counts)
            assert draws.resampled["uar"][row, column] == pytest.approx(
                balanced_accuracy_score(labels, predicted), abs=1e-6)
            assert draws.resampled["accuracy"][row, column] == pytest.approx(
                np.mean(np.equal(labels, predicted)), abs=1e-6)
            assert draws.resampled["macro_f1"][row, column] == pytest.approx(
                f1_score(labels, predicted, average="macro"), abs=1e-6)
            for name, recall in zip(CLASSES, recall_score(labels, predicted, average=None),
                                    strict=True):
                assert draws.resampled[f"recall:{name}"][row, column] == pytest.approx(
                    recall, abs=1e-6)


def test_weights_draw_as_many_people_as_there_are() -> None:
    drawn = weights(tuple(f"p{i}" for i in range(37)), 100)
    assert (drawn.sum(1) == 37).all()
    assert drawn.mean() == pytest.approx(1.0)


def test_same_people_share_resamples_and_other_people_do_not() -> None:
    same, other = ("a", "b", "c", "d"), ("e", "f", "g", "h")
    weights.cache_clear()
    first = weights(same, 50).copy()
    weights.cache_clear()
    np.testing.assert_array_equal(first, weights(same, 50))
    assert not np.array_equal(first, weights(other, 50))


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread", "n"), [
    (1, 0.0, 120), (5, 0.3, 120), (5, 0.0, 300), (10, 0.6, 135)])
def test_intervals_cover_the_truth(seeds: int, spread: float, n: int) -> None:
    shares = coverage(n, seeds, spread, sets=600)
    least = 0.91 if seeds == 1 else 0.925  # one seed: what Wald's limits of a share have
    assert all(least <= share <= 0.975 for share in shares.values()), shares  # 93 to 97, ± 0.9


@pytest.mark.slow
@pytest.mark.parametrize("configs", [1, 3])
def test_limits_of_pooled_values_cover_the_truth(configs: int) -> None:
    shares = pooled_coverage(100, 5, 0.6, configs, sets=150)
    assert all(0.91 <= share <= 0.99 for share in shares.values()), shares  # 95 ± 2 errors


def test_below_five_seeds_only_test_sampling_is_claimed() -> None:
    rng = np.random.default_rng(0)
    assert interval(tabulate(simulate(rng, 60, 4)))["uar"].kind == TEST_SAMPLING
    assert interval(tabulate(simulate(rng, 60, 5)))["uar"].kind == SEEDS_AND_TEST


def test_seeds_that_differ_widen_the_interval() -> None:
    def width(spread: float) -> float:
        one = interval(tabulate(simulate(np.random.default_rng(3), 300, 5, spread)))["uar"]
        assert one.low is not None and one.high is not None
        return one.high - one.low

    assert width(1.0) > 1.5 * width(0.0)


def test_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(5)
    found = simulate(rng, 300, 1)[0]
    worse = found.logits.copy()
    worse[::25] = worse[::25, [1, 2, 0]]
    twin = Predictions(found.sample_ids, found.identities, found.labels, worse, CLASSES)
    stranger = Predictions([f"q{i}" for i in range(300)], [f"q{i // 2}" for i in range(300)],
                           found.labels, worse, CLASSES)
    left = draw(tabulate({0: found}))
    paired = interval_of(difference(left, draw(tabulate({0: twin}))), "uar")
    apart = interval_of(difference(left, draw(tabulate({0: stranger}))), "uar")
    assert paired.value == apart.value
    assert paired.high - paired.low < 0.6 * (apart.high - apart.low)  # type: ignore[operator]
    assert (paired.n, apart.n) == ((300,), (300, 300))


def test_gap_of_two_crowds_covers_the_truth() -> None:
    rng, hits = np.random.default_rng(11), 0
    truth = (norm.cdf((EASE + 0.5) / 2 ** 0.5) - norm.cdf(EASE / 2 ** 0.5)).mean()
    for _ in range(200):
        left = draw(tabulate(simulate(rng, 200, 1, crowd="s", skill=0.5)), 600)
        right = draw(tabulate(simulate(rng, 120, 1, crowd="r")), 600)
        one = interval_of(difference(left, right), "uar")
        hits += one.low <= truth <= one.high  # type: ignore[operator]
    assert 0.92 <= hits / 200 <= 0.985


def test_equal_models_are_called_different_in_one_of_twenty_at_most() -> None:
    rng, claimed = np.random.default_rng(12), 0
    for _ in range(200):
        found = simulate(rng, 120, 2)
        left, right = (draw(tabulate({0: found[model]}), 400) for model in (0, 1))
        one = interval_of(difference(left, right), "uar")
        claimed += one.p is not None and one.p < 0.05
    assert claimed / 200 <= 0.08


def test_absent_class_gives_no_recall_and_no_crash() -> None:
    found = simulate(np.random.default_rng(0), 60, 1)[0]
    keep = [i for i, label in enumerate(found.labels) if label != 0]
    part = Predictions([found.sample_ids[i] for i in keep], [found.identities[i] for i in keep],
                       found.labels[keep], found.logits[keep], CLASSES)
    metrics = interval(tabulate({0: part}))
    assert metrics["recall:negative"].value is None
    assert metrics["uar"].value == pytest.approx(
        (metrics["recall:neutral"].value + metrics["recall:positive"].value) / 2)  # type: ignore


def test_one_person_gives_a_value_without_an_interval() -> None:
    found = simulate(np.random.default_rng(0), 2, 1)
    one = interval(tabulate(found))["accuracy"]
    assert one.value is not None and one.low is None and one.people == (1,)


def test_all_right_is_not_called_certain() -> None:
    found = simulate(np.random.default_rng(0), 60, 1)[0]
    right = Predictions(found.sample_ids, found.identities, found.labels,
                        np.eye(3, dtype=np.float32)[found.labels], CLASSES)
    one = interval(tabulate({0: right}))["accuracy"]
    assert (one.value, one.high) == (1.0, 1.0)
    assert one.low is not None and 0.8 < one.low < 0.95


def test_average_over_configurations_is_seed_by_seed() -> None:
    rng = np.random.default_rng(1)
    draws = [draw(tabulate(simulate(rng, 60, 3))) for _ in range(2)]
    both = average(draws)
    np.testing.assert_allclose(
        both.observed["uar"], (draws[0].observed["uar"] + draws[1].observed["uar"]) / 2)


def test_seeds_on_other_pictures_are_refused() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(ValueError, match="different pictures"):
        tabulate({0: simulate(rng, 60, 1)[0], 1: simulate(rng, 50, 1)[0]})


@pytest.mark.slow
def test_limits_of_differences_and_gaps_hold_equal_models_and_families_of_them_are_tied() -> None:
    shares = compared_coverage(100, 5, 0.3, sets=200)  # within three errors of 1,200 sets' shares
    assert all(0.89 < shares[name] <= 1.0 for name in ("paired", "gap", "gaps"))
    assert shares["families"] < 0.09  # 3.5 % of 7,200


@pytest.mark.slow
@pytest.mark.parametrize(("n", "recalls", "shares"), [
    (300, (0.97, 0.97, 0.97), SHARES), (135, (0.95, 0.95, 0.95), FEW_SHARES)])
def test_limits_of_high_scores_hold_on_either_side(
    n: int, recalls: tuple[float, ...], shares: np.ndarray,
) -> None:
    found = coverage(n, 5, 0.3, 600, 300, recalls, shares)
    for metric in ("uar", "accuracy"):  # of 300 at 0.97: 92 % as far to either side on a plain axis
        assert 0.93 <= found[metric] <= 0.98, found
    assert 0.93 <= found["recall:negative"] <= 0.995, found


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_rare_class_without_a_mistake_does_not_make_uar_certain(seeds: int) -> None:
    spread = 0.3 * (seeds > 1)
    shares = coverage(135, seeds, spread, 400, 300, (0.95, 0.95, 0.95), FEW_SHARES)
    assert shares["uar"] >= 0.93  # 0.88 to 0.90 where the other classes alone have a spread
    labels = np.repeat([0, 1, 2], [11, 48, 76]).astype(np.int64)
    constant = Predictions([f"i{i}" for i in range(135)], [f"p{i}" for i in range(135)], labels,
                           np.tile(np.float32([0, 0, 1]), (135, 1)), CLASSES)
    one = interval(tabulate({seed: constant for seed in range(seeds)}))
    assert one["uar"].value == pytest.approx(1 / 3)
    assert one["uar"].low < 1 / 3 < one["uar"].high  # type: ignore[operator]
    assert one["recall:positive"].high == 1.0 and one["recall:positive"].low < 1.0  # type: ignore[operator]


def test_few_seeds_that_all_win_have_no_limits_of_how_surely() -> None:
    rng = np.random.default_rng(3)
    pictures = draw_pictures(rng, 100)
    good, bad = (draw(tabulate(simulate(rng, 100, 2, skill=skill, pictures=pictures)), 300)
                 for skill in (2.0, -1.0))
    one = improvement([good], [bad], "uar")
    assert (one.value, one.low, one.high) == (1.0, None, None)


def test_limits_leave_out_as_many_draws_as_they_say() -> None:
    outside = [np.mean([(low > x) or (high < x) for x in rng.normal(size=400)])
               for rng in map(np.random.default_rng, range(400))
               for low, high in [limits_of(rng.normal(size=100))]]
    assert np.mean(outside) == pytest.approx(0.05, abs=0.003)  # numpy's default: 0.065


def test_far_in_the_tail_p_is_that_of_both_levels_in_proportion() -> None:
    rng = np.random.default_rng(8)
    people, seeds = (Level.of(rng.normal(size=4000) * spread, count)
                     for spread, count in ((0.01, 60), (0.02, 5)))
    value = 0.08
    far = value / (people.variance + seeds.variance) ** 0.5
    share = people.variance / (people.variance + seeds.variance)
    expected = 2 * (share * t.sf(far, 59) + (1 - share) * t.sf(far, 4))
    assert p_value(value, [people, seeds]) == pytest.approx(expected)
    freedom = 1 / (share ** 2 / 59 + (1 - share) ** 2 / 4)
    assert expected > 1.15 * 2 * t.sf(far, freedom)  # Satterthwaite's claims too often
    low, high = limits_around(value, [people, seeds], -1.0)
    assert p_value(low - value, [people, seeds]) == pytest.approx(0.05, abs=0.01)
    assert p_value(high - value, [people, seeds]) == pytest.approx(0.05, abs=0.01)


def few_wrong(wrong: int) -> Interval:
    """Return UAR of 11, 48 and 76 pictures, of which `wrong` positive ones are called neutral."""
    labels = np.repeat([0, 1, 2], [11, 48, 76]).astype(np.int64)
    called = np.where(np.arange(135) < 135 - wrong, labels, 1)
    one = Predictions([f"i{i}" for i in range(135)], [f"p{i}" for i in range(135)], labels,
                      np.eye(3, dtype=np.float32)[called], CLASSES)
    return interval(tabulate({0: one}))["uar"]


def test_limits_of_a_score_near_one_do_not_reach_for_chance() -> None:
    for wrong in (1, 2, 5):
        one = few_wrong(wrong)
        assert one.low is not None and one.high is not None and one.value is not None
        assert 0.8 < one.low < one.value < one.high <= 1.0, wrong  # 0.24 on the bare logit axis


def test_a_failed_run_hardly_moves_the_middle_of_nine() -> None:
    rng = np.random.default_rng(4)
    found = simulate(rng, 135, 9, 0.1, skill=1.5)
    whole = middle_mean([draw(tabulate(found), 500)], "uar")
    labels = found[0].labels
    found[8] = Predictions(found[0].sample_ids, found[0].identities, labels,
                           np.tile(np.float32([0, 0, 1]), (135, 1)), CLASSES)
    less = middle_mean([draw(tabulate(found), 500)], "uar")
    assert abs(less.value - whole.value) < 0.02  # type: ignore[operator]
    assert whole.low > less.low > whole.value - 0.25  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("own", [0.0, 0.7])
def test_equal_values_whose_models_differ_on_some_pictures_improve_on_each_other_by_half(
    own: float,
) -> None:
    shares = pooled_coverage(135, 5, 0.1, 1, 150, own, 200)
    assert shares["even"] >= 0.9, shares  # 0.61 to 0.8 where only seeds are drawn again
