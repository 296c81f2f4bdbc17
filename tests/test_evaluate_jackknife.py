"""The one interval method: equal to plain loops and to results by hand, honest about guards."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.metrics import f1_score

from fer.evaluate.intervals import SEEDS_AND_TEST, TEST_SAMPLING, Interval
from fer.evaluate.jackknife import jackknife
from fer.evaluate.person_tables import Tables, tabulate, within
from fer.evaluate.predictions import Predictions
from fer.evaluate.study_scores import StudyScores

CLASSES = ("negative", "neutral", "positive")


def predictions(key: int, n: int = 60, crowd: str = "p", per_person: int = 3, skill: float = 1.5,
                classes: tuple[int, ...] = (0, 1, 2), world: int = 0) -> Predictions:
    """Return predictions of one run; runs of one world and crowd see the same pictures."""
    scene = np.random.default_rng([world, n, *map(ord, crowd)])
    labels = scene.choice(classes, n)
    rng = np.random.default_rng([key, n, *map(ord, crowd)])
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels] + scene.normal(size=(n, 3))
    return Predictions([f"{crowd}{i:03}" for i in range(n)],
                       [f"{crowd}{i // per_person}" for i in range(n)],
                       labels, logits.astype(np.float32), CLASSES)


def study(configs: int = 3, seeds: int = 3, **more: object) -> dict[str, dict[int, Predictions]]:
    return {f"c{config}": {seed: predictions(10 * config + seed, **more)  # type: ignore[arg-type]
                           for seed in range(seeds)} for config in range(configs)}


def scores_of(*sets: tuple[str, dict[str, dict[int, Predictions]]]) -> StudyScores:
    return StudyScores({(config, split): tabulate(runs) for split, configs in sets
                        for config, runs in configs.items()})


def loop(weights: dict[str, float], signs: dict[str, float],
         data: dict[str, dict[str, dict[int, Predictions]]]) -> tuple[float, float, float, float]:
    """Return estimate, standard error, degrees of freedom and raw value of UAR, in plain loops."""
    kept = set(range(3))
    for configs in data.values():
        kept &= {int(label) for label in next(iter(next(iter(configs.values())).values())).labels}
    cells: dict[tuple[str, str], dict[str, object]] = {}
    for split, configs in data.items():
        for config, runs in configs.items():
            people = sorted({name for one in runs.values() for name in one.identities})
            count = len(people)
            u, loo, recalls = {}, {}, {c: [] for c in kept}
            table = next(iter(runs.values()))
            support = {(g, c): sum(1 for name, label in zip(table.identities, table.labels,
                                                            strict=True)
                                   if name == g and label == c) for g in people for c in kept}
            n = {c: sum(support[g, c] for g in people) for c in kept}
            raw = []
            for seed, one in runs.items():
                right = {key: 0 for key in support}
                for name, label, called in zip(one.identities, one.labels, one.predicted,
                                               strict=True):
                    if label in kept:
                        right[name, int(label)] += int(label == called)
                total = {c: sum(right[g, c] for g in people) for c in kept}
                for c in kept:
                    recalls[c].append((total[c] + 0.5) / (n[c] + 1))
                raw.append(np.mean([total[c] / n[c] for c in kept]))
                u[seed] = np.mean([recalls[c][-1] for c in kept])
                for g in people:
                    loo[seed, g] = np.mean([(total[c] - right[g, c] + 0.5)
                                            / (n[c] - support[g, c] + 1) for c in kept])
            moved = {(s, g): ((count - 1) / count) ** 0.5 * (
                loo[s, g] - np.mean([loo[s, h] for h in people])) for s in runs for g in people}
            mean = {g: np.mean([moved[s, g] for s in runs]) for g in people}
            inter = sum((moved[s, g] - mean[g]) ** 2 for s in runs for g in people) / max(
                len(runs) - 1, 1)
            q = {c: np.mean(recalls[c]) for c in kept}
            extra = sum(0.5 * ((1 - q[c]) ** 2 + q[c] ** 2) / (n[c] + 1) ** 2
                        for c in kept) / len(kept) ** 2
            a = [sum(support[g, c] / n[c] for c in kept) for g in people]
            worth = sum(a) ** 2 / sum(x * x for x in a)
            cells[config, split] = {"u": u, "mean": mean, "inter": inter, "extra": extra,
                                    "df": max(worth - 1, 1), "raw": raw}
    names = list(next(iter(data.values())))
    y = {k: [sum(signs[t] * cells[k, t]["u"][s] for t in data)  # type: ignore[index]
             for s in next(iter(data.values()))[k]] for k in names}
    scale = {k: sum((level := np.mean(list(cells[k, t]["u"].values()))) * (1 - level)  # type: ignore[attr-defined]
                    for t in data) for k in names}
    free = {k: len(y[k]) - 1 for k in names}
    whole = sum(free.values())
    estimate = sum(w * np.mean(y[k]) for k, w in weights.items())
    raw = sum(w * sum(signs[t] * np.mean(cells[k, t]["raw"]) for t in data)
              for k, w in weights.items())
    parts, dfs = [], []
    for t in data:
        first = cells[next(iter(weights)), t]
        v = sum(sum(w * cells[k, t]["mean"][g] for k, w in weights.items()) ** 2  # type: ignore[index]
                for g in first["mean"])  # type: ignore[attr-defined]
        v += sum(w * w * cells[k, t]["extra"] for k, w in weights.items()) / len(weights)  # type: ignore[operator]
        parts.append(v)
        dfs.append(first["df"])
    people_variance = sum(parts)
    b, ib = 0.0, 0.0
    if whole:
        pooled = sum(free[k] * np.var(y[k], ddof=1) / scale[k] for k in names if free[k]) / whole
        for k, w in weights.items():
            own = np.var(y[k], ddof=1) if free[k] else 0.0
            b += w * w * max(scale[k] * pooled, own) / len(y[k])
        ib = sum(free[k] * cells[k, t]["inter"] for k in names for t in data) / whole * sum(  # type: ignore[operator]
            w * w / len(y[k]) for k, w in weights.items())
    variance = max(people_variance, b, people_variance + b - ib)
    b = min(b, variance)
    shares = [v * (variance - b) / people_variance for v in parts]
    bottom = sum(v * v / df for v, df in zip(shares, dfs, strict=True)) + (
        b * b / whole if whole else 0)
    return estimate, variance ** 0.5, max(variance ** 2 / bottom, 1), raw


@pytest.mark.parametrize(("seeds", "weights", "signs"), list(product(
    (1, 2, 4), ({"c0": 1.0}, {"c0": 1.0, "c1": -1.0}, {"c0": 0.5, "c1": 0.5, "c2": -1.0}),
    ({"x": 1.0}, {"x": 1.0, "y": -1.0}))))
def test_every_contrast_equals_a_plain_loop(
    seeds: int, weights: dict[str, float], signs: dict[str, float]
) -> None:
    data = {"x": study(seeds=seeds), "y": study(seeds=seeds, crowd="q", n=48, classes=(1, 2))}
    data = {split: data[split] for split in signs}
    estimate, error, df, raw = loop(weights, signs, data)
    found = scores_of(*data.items()).contrast(weights, [(s, t) for t, s in signs.items()])
    assert found is not None and found.low is not None and found.high is not None
    assert (found.value, found.error, found.df) == pytest.approx((raw, error, df))
    half = stats.t.ppf(0.975, df) * error
    low, high = estimate - half, estimate + half
    if weights == {"c0": 1.0} and len(signs) == 1:
        outer = expit(logit(estimate) + np.array([-half, half]) / (estimate * (1 - estimate)))
        low, high = min(max(low, 0), outer[0]), max(min(high, 1), outer[1])
    assert (found.low, found.high) == pytest.approx((min(low, raw), max(high, raw)))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, df))
    assert found.kind == (SEEDS_AND_TEST if seeds > 1 else TEST_SAMPLING)


def test_seeds_missing_on_one_set_are_left_out_of_its_gap_only() -> None:
    left, right = study(2, 3), study(2, 3, crowd="q")
    del right["c0"][1]
    scores = scores_of(("x", left), ("y", right))
    gap = scores.contrast({"c0": 1}, [(1, "x"), (-1, "y")])
    assert gap is not None and gap.seeds == 2 and gap.seed_df == 1 + 2
    alone = scores.contrast({"c0": 1}, [(1, "x")])
    assert alone is not None and alone.seeds == 3


def by_hand(right: list[int]) -> Tables:
    """Return one seed on four people with two pictures each of one class; `right` of them right."""
    names = [f"p{i}" for i in range(8)]
    called = [0 if i % 2 < right[i // 2] else 1 for i in range(8)]
    return tabulate({0: Predictions(names, [f"q{i // 2}" for i in range(8)],
                                    np.zeros(8, np.int64),
                                    np.eye(2, dtype=np.float32)[called], ("a", "b"))})


def test_a_recall_by_hand() -> None:
    """Of eight pictures of four people 2, 2, 1 and 1 are right: (6 + ½) / 9 of the eight."""
    one = jackknife(by_hand([2, 2, 1, 1]), "recall:a")
    assert one is not None and one.raw == pytest.approx([0.75])
    assert one.values == pytest.approx([6.5 / 9]) and one.worth == pytest.approx(4)
    left = np.array([4.5, 4.5, 5.5, 5.5]) / 7
    assert one.deviations[0] == pytest.approx((3 / 4) ** 0.5 * (left - left.mean()))
    q = 6.5 / 9
    assert one.prior_variance == pytest.approx(0.5 * ((1 - q) ** 2 + q ** 2) / 81)
    assert jackknife(by_hand([2, 2, 1, 1]), "recall:b") is None
    accuracy = jackknife(by_hand([2, 2, 1, 1]), "accuracy")
    assert accuracy is not None and accuracy.values == pytest.approx(one.values)


def test_people_with_many_pictures_are_worth_fewer() -> None:
    names = [f"p{i}" for i in range(10)]
    people = ["a"] * 7 + ["b", "c", "d"]
    one = tabulate({0: Predictions(names, people, np.zeros(10, np.int64),
                                   np.eye(2, dtype=np.float32)[[0] * 9 + [1]], ("a", "b"))})
    found = jackknife(one, "accuracy")
    assert found is not None and found.worth == pytest.approx(100 / (49 + 3))


@pytest.mark.parametrize("metric", [
    "uar", "accuracy", "macro_f1", "recall:neutral", "nll", "brier", "ece_debiased"])
def test_a_score_without_a_person_is_that_of_the_other_people(metric: str) -> None:
    """Leaving people out of the tables themselves gives the same deviations, for every score."""
    tables = tabulate({seed: predictions(seed, 45) for seed in range(2)})
    whole = jackknife(tables, metric)
    assert whole is not None
    without = []
    for row in range(len(tables.people)):
        one = jackknife(within(tables, tables.rows != row), metric, CLASSES)
        assert one is not None
        without.append(one.values)
    left = np.array(without).T
    has = np.ones(len(tables.people), bool)  # a picture that counts; the others move nothing
    if metric == "recall:neutral":
        has = (tables.counts[0][:, 1] > 0).any(1)
    count = has.sum()
    assert whole.deviations[:, has] == pytest.approx(((count - 1) / count) ** 0.5 * (
        left[:, has] - left[:, has].mean(1, keepdims=True)), abs=1e-12)
    assert not whole.deviations[:, ~has].any()


@pytest.mark.parametrize("metric", ["uar", "macro_f1"])
def test_the_halves_move_a_score_as_their_variance_says(metric: str) -> None:
    """The variance of the halves is that of pictures of weight ½, by numerical derivatives."""
    counts = np.array([[7, 2, 1], [3, 12, 5], [0, 4, 16]], float)

    def score(table: np.ndarray) -> float:
        hits = np.diag(table)
        return float((hits / table.sum(1)).mean() if metric == "uar" else
                     (2 * hits / (table.sum(1) + table.sum(0))).mean())

    halves = np.full((3, 3), 0.25)
    np.fill_diagonal(halves, 0.5)
    table, expected, tiny = counts + halves, 0.0, 1e-5
    for c in range(3):
        right, wrong = np.zeros((3, 3)), np.zeros((3, 3))
        right[c, c] = tiny
        expected += 0.5 * ((score(table + right) - score(table - right)) / 2 / tiny) ** 2
        for j in set(range(3)) - {c}:
            wrong[:] = 0
            wrong[c, j] = tiny
            expected += 0.25 * ((score(table + wrong) - score(table - wrong)) / 2 / tiny) ** 2
    labels = np.repeat([0, 1, 2], counts.sum(1).astype(int))
    called = np.concatenate([np.repeat([0, 1, 2], row.astype(int)) for row in counts])
    names = [f"p{i}" for i in range(len(labels))]
    one = jackknife(tabulate({0: Predictions(names, names, labels, np.eye(
        3, dtype=np.float32)[called], CLASSES)}), metric)
    assert one is not None and one.values[0] == pytest.approx(score(table))
    assert one.prior_variance == pytest.approx(expected, rel=1e-4)
    assert one.raw[0] == pytest.approx(
        score(counts) if metric == "uar" else f1_score(labels, called, average="macro"))


def test_the_debiased_calibration_error_of_a_calibrated_model_is_zero_on_average() -> None:
    rng, found, plain = np.random.default_rng(0), [], []
    for _ in range(300):
        sure = rng.uniform(0.4, 0.95, 135)
        probabilities = np.stack([sure, (1 - sure) * 0.7, (1 - sure) * 0.3], 1)
        labels = np.array([rng.choice(3, p=row) for row in probabilities])
        names = [f"p{i}" for i in range(135)]
        tables = tabulate({0: Predictions(names, names, labels, np.log(probabilities).astype(
            np.float32), CLASSES)})
        one = jackknife(tables, "ece_debiased")
        assert one is not None
        found.append(one.raw[0])
        bins = np.ceil(tables.confidence[0] * 15)
        plain.append(sum(abs((tables.confidence - tables.right)[0][bins == b].sum())
                         for b in np.unique(bins)) / 135)
    assert abs(np.mean(found)) < 3 * np.std(found) / 300 ** 0.5 < 0.002
    assert np.mean(plain) > 0.07  # the plain error of a perfect model


def test_a_model_that_is_too_sure_has_the_calibration_error_that_it_has() -> None:
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(4000) < 0.7, 0, 1)
    sure = np.log(np.tile([0.9, 0.06, 0.04], (4000, 1))).astype(np.float32)
    names = [f"p{i}" for i in range(4000)]
    scores = StudyScores({("c", "x"): tabulate({0: Predictions(names, names, labels, sure,
                                                               CLASSES)})})
    one = scores.contrast({"c": 1}, [(1, "x")], "ece_debiased")
    assert one is not None and one.low is not None and one.high is not None
    assert one.low < 0.04 < one.high and one.value == pytest.approx(0.04, abs=0.01)


def width(one: Interval | None) -> float:
    assert one is not None and one.low is not None and one.high is not None
    return one.high - one.low


def test_two_sets_of_the_same_people_are_paired_and_those_of_others_are_not() -> None:
    runs = study(1, 1, n=120)
    easier = {"c0": {0: predictions(0, 120, skill=2.0)}}
    strangers = {"c0": {0: predictions(0, 120, crowd="q", skill=2.0)}}
    paired, apart = (scores_of(("x", runs), ("y", other)).contrast({"c0": 1}, [(1, "x"), (-1, "y")])
                     for other in (easier, strangers))
    assert width(paired) < 0.9 * width(apart)
    assert paired is not None and apart is not None
    assert (paired.n, apart.n) == ((120,), (120, 120))


def test_a_gap_is_over_the_classes_that_both_sets_have() -> None:
    left, right = study(1, 2), study(1, 2, crowd="q", classes=(1, 2))
    scores = scores_of(("x", left), ("y", right))
    assert scores.classes(["x", "y"]) == ("neutral", "positive")
    gap = scores.contrast({"c0": 1}, [(1, "x"), (-1, "y")])
    parts = [scores.contrast({"c0": 1}, [(1, split)], f"recall:{name}")
             for split in ("x", "y") for name in ("neutral", "positive")]
    a, b, c, d = (one.value for one in parts if one is not None)
    assert gap is not None and gap.value == pytest.approx((a + b) / 2 - (c + d) / 2)
    assert scores.contrast({"c0": 1}, [(1, "x"), (-1, "y")], "recall:negative") is None


def test_losing_a_run_drops_no_part_of_the_seeds() -> None:
    whole = study(8, 5)
    found = scores_of(("x", whole)).contrast({"c0": 1}, [(1, "x")])
    del whole["c0"][4]
    less = scores_of(("x", whole)).contrast({"c0": 1}, [(1, "x")])
    assert found is not None and less is not None
    assert (found.kind, less.kind) == (SEEDS_AND_TEST, SEEDS_AND_TEST)
    assert (found.seed_df, less.seed_df) == (32, 31)


def test_one_seed_of_a_configuration_borrows_the_spread_of_the_others() -> None:
    runs = study(4, 3)
    runs["c0"] = {0: runs["c0"][0]}
    one = scores_of(("x", runs)).contrast({"c0": 1}, [(1, "x")])
    assert one is not None and one.kind == SEEDS_AND_TEST and one.seed_df == 6
    alone = scores_of(("x", {"c0": runs["c0"]})).contrast({"c0": 1}, [(1, "x")])
    assert alone is not None and alone.kind == TEST_SAMPLING and width(alone) < width(one)


def test_a_configuration_of_wild_seeds_is_marked_and_has_its_own_spread() -> None:
    runs = {f"c{k}": {s: predictions(10 * k + s, 300, skill=1.5) for s in range(4)}
            for k in range(10)}
    for seed, skill in enumerate((0.0, 1.0, 4.0, 8.0)):
        runs["c0"][seed] = predictions(seed, 300, skill=skill)
    scores = scores_of(("x", runs))
    wild, calm = (scores.contrast({name: 1}, [(1, "x")]) for name in ("c0", "c1"))
    assert wild is not None and calm is not None
    assert wild.uneven and not calm.uneven and width(wild) > 2 * width(calm)
    mean = scores.contrast({f"c{k}": 0.1 for k in range(10)}, [(1, "x")])
    assert mean is not None and not mean.uneven  # one of ten makes no mean of ten uneven


def test_too_few_people_have_a_value_and_no_interval() -> None:
    one = scores_of(("x", study(1, 2, n=8, per_person=4))).contrast({"c0": 1}, [(1, "x")],
                                                                    "accuracy")
    assert one is not None and one.value is not None and one.low is None and one.p is None


def test_all_right_is_not_called_certain_and_is_marked() -> None:
    labels = np.repeat([0, 1, 2], 30)
    names = [f"p{i}" for i in range(90)]
    one = scores_of(("x", {"c": {0: Predictions(
        names, names, labels, 9 * np.eye(3, dtype=np.float32)[labels], CLASSES)}})).contrast(
        {"c": 1}, [(1, "x")])
    assert one is not None and one.low is not None and one.flawless
    assert (one.value, one.high) == (1.0, 1.0) and 0.85 < one.low < 0.98


def test_limits_for_several_comparisons_are_those_of_bonferroni() -> None:
    one = scores_of(("x", study(3, 3))).contrast({"c0": 1, "c1": -1}, [(1, "x")])
    assert one is not None and one.low is not None and one.high is not None
    wide = one.simultaneous(11)
    assert width(wide) / width(one) == pytest.approx(
        stats.t.ppf(1 - 0.025 / 11, one.df) / stats.t.ppf(0.975, one.df))
    assert one.simultaneous(1) == one


def test_the_order_of_runs_and_pictures_changes_no_digit() -> None:
    runs = study(2, 2)
    turned = {name: {seed: Predictions(one.sample_ids[::-1], one.identities[::-1],
                                       one.labels[::-1], one.logits[::-1], one.classes)
                     for seed, one in reversed(found.items())} for name, found in runs.items()}
    assert scores_of(("x", runs)).contrast({"c0": 1, "c1": -1}, [(1, "x")]) == scores_of(
        ("x", turned)).contrast({"c0": 1, "c1": -1}, [(1, "x")])


def test_seeds_on_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="different pictures"):
        tabulate({0: predictions(0, 60), 1: predictions(1, 48)})


def test_a_run_that_predicts_one_class_is_collapsed() -> None:
    one = predictions(0)
    flat = Predictions(one.sample_ids, one.identities, one.labels,
                       np.tile(np.float32([0, 1, 0]), (60, 1)), CLASSES)
    assert tabulate({0: one, 1: flat}).collapsed == (1,)
