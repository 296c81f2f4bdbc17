"""The metrics are those of scikit-learn; the predictions table survives a round trip."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics as reference

from fer.evaluate.metrics import (
    log_probabilities,
    measure,
    reliability,
    result_path,
    soft_scores,
    validation_scores,
    write_result,
)
from fer.evaluate.predictions import (
    DamagedFile,
    Predictions,
    predictions_path,
    read_predictions,
    write_predictions,
)

CLASSES = ("negative", "neutral", "positive")


def random_table(seed: int, n: int = 200, width: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, width, n)
    logits = rng.normal(size=(n, width)) * 2 + 1.5 * np.eye(width)[labels]
    return labels, logits.astype(np.float32)


def table(seed: int = 0, n: int = 50) -> Predictions:
    labels, logits = random_table(seed, n)
    names = [f"lfw/eval/A_{i:04d}.jpg" for i in range(n)][::-1]
    return Predictions(names, [f"A_{i // 2}" for i in range(n)], labels, logits, CLASSES)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed: int) -> None:
    labels, logits = random_table(seed)
    predicted, probabilities = logits.argmax(1), np.exp(log_probabilities(logits))
    found = measure(labels, logits, CLASSES)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found["uar"] == pytest.approx(reference.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(
        reference.f1_score(labels, predicted, average="macro"))
    assert found["nll"] == pytest.approx(reference.log_loss(labels, probabilities))
    assert found["auroc"] == pytest.approx(
        reference.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["confusion"] == reference.confusion_matrix(labels, predicted).tolist()
    assert list(found["recall"].values()) == pytest.approx(
        reference.recall_score(labels, predicted, average=None))
    assert list(found["precision"].values()) == pytest.approx(
        reference.precision_score(labels, predicted, average=None))
    assert found["brier"] == pytest.approx(
        np.mean(((probabilities - np.eye(3)[labels]) ** 2).sum(1)))


@pytest.mark.parametrize(("n", "width"), [(200, 3), (7, 3), (40, 7), (3, 3), (30, 2)])
def test_soft_scores_are_the_measured_ones(n: int, width: int) -> None:
    for seed in range(5):
        labels, logits = random_table(seed, n, width)
        logits = logits.round(int(seed > 2)) * (30 if seed == 4 else 1)  # ties; sure and wrong
        full, fast = measure(labels, logits, tuple("abcdefg"[:width])), soft_scores(labels, logits)
        assert fast == pytest.approx({name: full[name] for name in fast})
    assert soft_scores(np.zeros(4, int), np.eye(4, 3))["auroc"] is None


@pytest.mark.parametrize("seed", range(5))
def test_validation_scores_equal_the_measured_ones(seed: int) -> None:
    labels, logits = random_table(seed)
    full, fast = measure(labels, logits, CLASSES), validation_scores(labels, logits)
    assert fast["loss"] == pytest.approx(full["nll"])
    assert [fast[name] for name in ("accuracy", "uar", "macro_f1")] == [
        full[name] for name in ("accuracy", "uar", "macro_f1")]


def test_validation_scores_do_not_import_scikit_learn() -> None:
    code = ("import sys, numpy as np; from fer.evaluate.metrics import validation_scores;"
            "validation_scores(np.array([0, 1]), np.eye(2));"
            "sys.exit('sklearn' in sys.modules or 'torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_calibration_error_equals_a_loop_over_bins() -> None:
    labels, logits = random_table(3, 500)
    probabilities = np.exp(log_probabilities(logits))
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert reliability(labels, probabilities).error == pytest.approx(expected)


def test_absent_class_has_no_recall_and_is_said() -> None:
    labels, logits = random_table(1)
    labels = np.where(labels == 0, 1, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(labels, logits, CLASSES)
    assert found["recall"]["negative"] is None
    assert found["support"]["negative"] == 0
    assert found["uar"] == pytest.approx(
        (found["recall"]["neutral"] + found["recall"]["positive"]) / 2)
    assert "negative" in found["note"]


def test_class_never_predicted_has_no_precision() -> None:
    found = measure(np.array([0, 1, 2]), np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0.0]]), CLASSES)
    assert found["precision"]["positive"] is None
    assert found["recall"]["positive"] == 0.0


def test_result_file_is_plain_json(tmp_path: Path) -> None:
    labels, logits = random_table(0)
    path = result_path(tmp_path, "lfw/eval")
    write_result(path, "lfw/eval", "abc", measure(labels, logits, CLASSES))
    content = json.loads(path.read_text())
    assert path == tmp_path / "results/lfw/eval.json"
    assert (content["schema"], content["split"], content["digest"], content["n"]) == (
        1, "lfw/eval", "abc", 200)


def test_predictions_survive_a_round_trip_in_order(tmp_path: Path) -> None:
    written, path = table(), predictions_path(tmp_path, "lfw/eval")
    write_predictions(path, written)
    read = read_predictions(path)
    assert path == tmp_path / "predictions/lfw/eval.parquet"
    assert (read.sample_ids, read.identities, read.classes) == (
        written.sample_ids, written.identities, written.classes)
    assert read.labels.dtype == np.int64 and read.logits.dtype == np.float32
    np.testing.assert_array_equal(read.logits, written.logits)
    np.testing.assert_array_equal(read.labels, written.labels)


def test_predictions_file_is_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in "ab":
        write_predictions(tmp_path / name, table())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_damaged_predictions_are_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, table())
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-20] ^= 0xFF
    path.write_bytes({"cut": bytes(content[: len(content) // 2]), "flip": bytes(content),
                      "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(DamagedFile, match=r"p\.parquet"):
        read_predictions(path)


def test_missing_predictions_are_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path / "none.parquet")


def test_table_of_a_sample_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        Predictions(["a", "a"], ["", ""], np.array([0, 1]), np.eye(2, dtype=np.float32), ("x", "y"))


def test_a_bit_that_flips_in_predictions_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    whole = table()
    write_predictions(path, whole)
    content, rng, unseen = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_predictions(path)
        except DamagedFile:
            continue
        unseen += not (np.array_equal(found.logits, whole.logits)
                       and found.sample_ids == whole.sample_ids
                       and np.array_equal(found.labels, whole.labels))
    assert unseen <= 12  # 80 without checksums of the pages


def test_a_name_that_is_no_text_and_a_column_twice_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_predictions(path, table())
    path.write_bytes(path.read_bytes().replace(b"identity", b"ident\xfety"))
    with pytest.raises(DamagedFile):
        read_predictions(path)
    columns = [pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["sample_id", "sample_id"]), path)
    with pytest.raises(DamagedFile, match=r"no column|duplicate"):
        read_predictions(path)
