"""Ensembles from saved predictions, against a loop."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from test_evaluate_metrics import table

from fer.evaluate.ensembles import greedy, hold_probabilities, mean_of
from fer.evaluate.metrics import log_probabilities
from fer.evaluate.predictions import Predictions


def test_mean_of_models_is_that_of_their_probabilities() -> None:
    tables = [like(table(0), seed) for seed in range(3)]
    found = mean_of(tables)
    for row in range(len(found)):
        expected = np.mean([np.exp(log_probabilities(one.logits[row:row + 1]))[0]
                            for one in tables], axis=0)
        np.testing.assert_allclose(np.exp(found.logits[row]), expected, rtol=1e-5)


def test_order_of_pictures_does_not_matter() -> None:
    one, two = table(0), like(table(0), 1)
    turned = Predictions(two.sample_ids[::-1], two.identities[::-1], two.labels[::-1],
                         two.logits[::-1], two.classes)
    np.testing.assert_array_equal(mean_of([one, two]).logits, mean_of([one, turned]).logits)


def test_other_pictures_or_classes_are_refused() -> None:
    one = table(0, 50)
    other = Predictions(one.sample_ids, one.identities, one.labels, one.logits, ("a", "b", "c"))
    for wrong, words in ((table(0, 40), "different pictures"), (other, "classes")):
        with pytest.raises(ValueError, match=words):
            mean_of([one, wrong])


def test_probabilities_in_place_of_logits_are_seen() -> None:
    one = table(0)
    logs = log_probabilities(one.logits)

    def having(values: np.ndarray) -> Predictions:
        return Predictions(one.sample_ids, one.identities, one.labels,
                           values.astype(np.float32), one.classes)

    assert hold_probabilities(having(np.exp(logs)))
    assert not hold_probabilities(having(logs)) and not hold_probabilities(one)


def like(one: Predictions, seed: int) -> Predictions:
    """Return another model's answers on the same pictures."""
    noise = np.random.default_rng(seed).normal(size=one.logits.shape)
    logits = 1.2 * np.eye(3)[one.labels] + noise
    return Predictions(one.sample_ids, one.identities, one.labels, logits.astype(np.float32),
                       one.classes)


def test_greedy_selection_equals_a_loop() -> None:
    tables = {f"m{seed}": like(table(0, 120), seed) for seed in range(6)}
    labels = tables["m0"].labels
    chosen: list[str] = []
    reached = -1.0
    while True:
        found = {name: balanced_accuracy_score(labels, mean_of(
            [tables[one] for one in (*chosen, name)]).predicted) for name in sorted(tables)}
        best = max(sorted(found), key=lambda name: found[name])
        if found[best] <= reached + 1e-12:
            break
        chosen.append(best)
        reached = found[best]
    assert greedy(tables) == chosen and len(chosen) > 1
    alone = max(balanced_accuracy_score(labels, one.predicted) for one in tables.values())
    assert reached > alone
