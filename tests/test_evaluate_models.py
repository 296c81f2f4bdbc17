"""Any model on any split, any time later: checkpoints, views, weights files, ranks, TensorBoard."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, launch
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from test_mistakes import said_in_one_line

from fer.config.load import load_run
from fer.data.test_time_views import COUNT, tta_views
from fer.errors import CallerError
from fer.evaluate.metrics import log_probabilities, reliability
from fer.evaluate.predictions import Predictions, read_predictions, write_predictions
from fer.train.checkpoint import Checkpoints
from fer.train.error_analysis import Answers, common_mistakes
from fer.train.tensorboard import reliability_picture
from fer.untrusted_io import read_json


@pytest.fixture
def study(two_seeds: dict[str, str]) -> dict[str, str]:
    """Return the environment of a finished toy study of two runs."""
    return two_seeds


def runs(study: dict[str, str]) -> list[Path]:
    return sorted((Path(study["FER_HOME"]) / "runs").iterdir())


def test_views_are_fixed_and_the_first_is_the_picture_itself() -> None:
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    first, again = list(tta_views(images)), list(tta_views(images))
    assert len(first) == COUNT and torch.equal(first[0], images)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert torch.equal(first[COUNT // 2], images.flip(-1))
    assert all(view.shape == images.shape and view.dtype == images.dtype for view in first)
    assert len({view.numpy().tobytes() for view in first}) == COUNT  # they do differ


@pytest.mark.slow
def test_views_are_averaged_as_probabilities_and_kept_beside_the_plain_answers(
    study: dict[str, str]
) -> None:
    done = launch("evaluate", runs(study)[0], "--split", "real/test", "--tta", **study)
    assert done.returncode == 0, done.stderr
    folder = runs(study)[0] / "predictions/real"
    plain, turned = (read_predictions(folder / name)
                     for name in ("test.parquet", "test@turned.parquet"))
    assert plain.sample_ids == turned.sample_ids
    assert not np.array_equal(plain.logits, turned.logits)
    np.testing.assert_allclose(np.exp(turned.logits).sum(1), 1, rtol=1e-5)
    again = (folder / "test@turned.parquet").read_bytes()
    assert launch("evaluate", runs(study)[0], "--split", "real/test", "--tta", **study
                  ).returncode == 0
    assert (folder / "test@turned.parquet").read_bytes() == again


@pytest.mark.slow
def test_another_checkpoint_than_the_best_is_measured_under_its_own_name(
    study: dict[str, str]
) -> None:
    folder = runs(study)[0]
    name = (folder / "checkpoints/last").read_text().strip()
    done = launch("evaluate", folder, "--split", "real/test", "--checkpoint", name, **study)
    assert done.returncode == 0, done.stderr
    assert (folder / f"results/real/test@{name}.json").is_file()
    said_in_one_line(launch("evaluate", folder, "--split", "real/test", "--checkpoint", "step-7",
                            **study), "step-7", "best", name)


def test_a_weights_file_is_measured_as_its_run_is(study: dict[str, str], tmp_path: Path) -> None:
    best = Checkpoints(runs(study)[0] / "checkpoints", 2).best() / "model.safetensors"
    file = tmp_path / "somebody elses.safetensors"
    file.write_bytes(best.read_bytes())
    data = tmp_path / "data.yaml"
    data.write_text((runs(study)[0] / "config.yaml").read_text())
    done = launch("evaluate", file, "--split", "real/test", "--data", data, **study)
    assert done.returncode == 0, done.stderr
    (made,) = (Path(study["FER_HOME"]) / "evaluations").glob("somebody elses-*")
    found = read_predictions(made / "predictions/real/test.parquet")
    own = read_predictions(runs(study)[0] / "predictions/real/test.parquet")
    np.testing.assert_array_equal(found.logits, own.logits)


def test_two_weights_files_of_one_name_are_two_models(
    study: dict[str, str], tmp_path: Path
) -> None:
    files = []
    for number, run in enumerate(runs(study)):
        file = tmp_path / str(number) / "model.safetensors"
        file.parent.mkdir()
        best = Checkpoints(run / "checkpoints", 2).best() / "model.safetensors"
        file.write_bytes(best.read_bytes())
        files.append(file)
    done = launch("evaluate", *files, "--split", "real/test", "--data",
                  runs(study)[0] / "config.yaml", **study)
    assert done.returncode == 0, done.stderr
    made = sorted((Path(study["FER_HOME"]) / "evaluations").glob("model-*"))
    assert len(made) == 2
    own = {read_predictions(run / "predictions/real/test.parquet").logits.tobytes()
           for run in runs(study)}
    assert {read_predictions(one / "predictions/real/test.parquet").logits.tobytes()
            for one in made} == own and len(own) == 2


def test_a_test_set_is_measured_where_the_training_pictures_are_gone(
    study: dict[str, str], tmp_path: Path
) -> None:
    run = runs(study)[0]
    home, data = tmp_path / "home", tmp_path / "data"
    shutil.copytree(run, home / "runs" / run.name)
    shutil.rmtree(home / "runs" / run.name / "predictions")
    shutil.rmtree(home / "runs" / run.name / "results")
    shutil.copytree(Path(study["FER_DATA"]) / "REAL-FER", data / "REAL-FER")
    done = launch("evaluate", run.name, "--split", "real/test", FER_HOME=str(home),
                  FER_DATA=str(data), FER_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    again = home / "runs" / run.name
    assert (again / "results/real/test.json").is_file()
    assert not (again / "predictions/lfw").exists()
    assert "no predictions on lfw/val" in (again / "logs/train.log").read_text()


def test_a_whole_study_on_several_splits_with_pictures_of_common_mistakes(
    study: dict[str, str], tmp_path: Path
) -> None:
    done = launch("evaluate", "--study", "toy", "--split", "mlfw/eval", "--split", "real/test",
                  "--save", tmp_path / "out", **study)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrong for all 2 models") == 2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"wrong-mlfw-eval.csv", "wrong-real-test.csv"} <= names
    assert sum(name.startswith("confusion-") for name in names) == 4
    tables = [read_predictions(run / "predictions/mlfw/eval.parquet") for run in runs(study)]
    wrong = {name for place, name in enumerate(tables[0].sample_ids)
             if all(one.predicted[place] != one.labels[place] for one in tables)}
    lines = (tmp_path / "out/wrong-mlfw-eval.csv").read_text().splitlines()[1:]
    assert {line.split(",")[0] for line in lines} == wrong and wrong
    assert Image.open(tmp_path / "out/wrong-mlfw-eval.png").size[0] > 100
    with open(tmp_path / "out/metrics-mlfw-eval.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    metrics = read_json(tmp_path / "out/metrics-mlfw-eval.json")
    for run, table, row in zip(runs(study), tables, rows, strict=True):
        stored = read_json(run / "results/mlfw/eval.json")
        assert row["model"] == run.name and metrics[run.name].items() <= stored.items()
        for name in ("uar", "nll"):
            assert float(row[name]) == stored[name]
        assert float(row["recall_neutral"]) == stored["recall"]["neutral"]
        kept = read_json(tmp_path / f"out/probabilities-mlfw-eval-{run.name}.json")
        with open(tmp_path / f"out/probabilities-mlfw-eval-{run.name}.csv", newline="") as handle:
            text = list(csv.DictReader(handle))
        assert [one["sample_id"] for one in text] == table.sample_ids
        for kind in ("probability", "calibrated"):
            values = [[one[f"{kind}_{name}"] for name in table.classes] for one in kept]
            np.testing.assert_allclose(np.sum(values, axis=1), 1)
            assert values == [[float(one[f"{kind}_{name}"]) for name in table.classes]
                              for one in text]
        np.testing.assert_allclose(
            [[one[f"probability_{name}"] for name in table.classes] for one in kept],
            np.exp(log_probabilities(table.logits)), rtol=1e-12)


@pytest.mark.slow
def test_two_ranks_give_each_picture_once_and_the_answers_of_one(
    study: dict[str, str], tmp_path: Path
) -> None:
    name = (runs(study)[0] / "checkpoints/last").read_text().strip()
    found = {}
    for world in (1, 2):
        path = runs(study)[0] / f"predictions/real/test@{name}@turned.parquet"
        for old in (path, runs(study)[0] / f"results/real/test@{name}@turned.json"):
            old.unlink(missing_ok=True)
        evaluate(world, study, runs(study)[0], "--split", "real/test", "--checkpoint", name,
                 "--tta")
        found[world] = read_predictions(path)
    assert found[1].sample_ids == found[2].sample_ids
    np.testing.assert_allclose(found[1].logits, found[2].logits, atol=1e-5)


def evaluate(world: int, env: dict[str, str], *arguments: object) -> None:
    """Run launch/evaluate.py as `world` gloo ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [subprocess.Popen(
        [sys.executable, str(REPOSITORY / "launch/evaluate.py"), *map(str, arguments)],
        env={**os.environ, **env, "RANK": str(rank), "LOCAL_RANK": str(rank),
             "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
             "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if world > 1 else
        {**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(world)]
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert {process.returncode for process in processes} == {0}, said
    assert sum("wrong for the model" in one for one in said) == 1, said  # one rank speaks


def test_validation_is_predicted_once_by_the_best_checkpoint(study: dict[str, str]) -> None:
    for run in runs(study):
        found = read_predictions(run / "predictions/lfw/val.parquet")
        assert not (run / "results/lfw/val.json").exists()  # it selects, it is no test set
        best = read_json(run / "train.json")
        assert best["select"] == "uar"
        assert balanced_accuracy_score(found.labels, found.predicted) == pytest.approx(
            best["best_score"])


def test_tensorboard_sorts_runs_by_the_metrics_of_all_test_sets(
    study: dict[str, str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = runs(study)[1]
    assert launch("evaluate", folder, "--split", "lfw/eval", **study).returncode == 0
    files = list((folder / "tb").glob("*.hparams"))
    assert len(files) == 1
    final = EventAccumulator(str(files[0])).Reload()
    assert {"real/test/uar", "lfw/eval/uar"} <= set(final.Tags()["scalars"])
    assert "_hparams_/session_start_info" in final.summary_metadata
    every = EventAccumulator(str(folder / "tb")).Reload()
    assert {"train/samples", "val/confusion", "val/reliability", "val/wrong",
            "lfw/eval/confusion", "lfw/eval/reliability"} <= set(
                every.Tags()["images"])


def test_a_reliability_plot_shows_what_is_missing_to_the_confidence() -> None:
    labels = np.repeat([0, 1], [6, 4])
    logits = np.tile([3.0, 0.0], (10, 1))  # sure of class 0, right six times
    picture = reliability_picture(reliability(labels, np.exp(log_probabilities(logits))))
    assert picture.dtype == torch.uint8 and picture.shape == (3, 240, 240)
    column = picture[:, :, int(0.95 * 240)].permute(1, 0).tolist()
    blue = sum(pixel == [0, 114, 178] for pixel in column)
    assert blue == pytest.approx(0.6 * 240, abs=4)
    assert [213, 94, 0] in column


def test_mistakes_of_models_with_other_classes_are_not_compared(tmp_path: Path) -> None:
    answers = []
    for name, classes in (("one", ("sad", "glad")), ("two", ("sad", "angry"))):
        file = tmp_path / f"{name}.parquet"
        write_predictions(file, Predictions(["a"], ["a"], np.array([0]),
                                            np.ones((1, 2), np.float32), classes))
        answers.append(Answers(name, file))
    with pytest.raises(CallerError, match="one and two have different classes, sad, glad and sad"):
        common_mistakes(answers)


def test_nothing_to_evaluate_is_one_line(study: dict[str, str]) -> None:
    said_in_one_line(launch("evaluate", "--split", "real/test", **study), "nothing to evaluate")


@pytest.mark.parametrize("damage", [lambda content: content[:50], lambda content: b"PK" + content])
def test_a_file_that_is_no_weights_file_is_one_line(
    damage: Callable[[bytes], bytes], study: dict[str, str], tmp_path: Path
) -> None:
    best = Checkpoints(runs(study)[0] / "checkpoints", 2).best() / "model.safetensors"
    (tmp_path / "broken.pth").write_bytes(damage(best.read_bytes()))
    said_in_one_line(launch("evaluate", tmp_path / "broken.pth", "--split", "real/test", **study),
                     "broken.pth", "cannot be read")


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_damaged_checkpoint_is_one_line(
    checkpoint: str, study: dict[str, str], tmp_path: Path
) -> None:
    run = shutil.copytree(runs(study)[0], tmp_path / runs(study)[0].name)
    shutil.rmtree(run / "results")
    for path in run.glob("checkpoints/step-*/model.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    said_in_one_line(launch("evaluate", run, "--split", "real/test", "--checkpoint", checkpoint,
                            **study), "model.safetensors", "changed since it was written")


def test_what_was_trained_and_selected_on_can_be_measured_too(study: dict[str, str]) -> None:
    folder = runs(study)[1]
    done = launch("evaluate", folder, "--split", "lfw/train", "--split", "lfw/val", **study)
    assert done.returncode == 0, done.stdout + done.stderr
    sizes = {part: int(read_json(folder / f"results/lfw/{part}.json")["n"])
             for part in ("train", "val")}
    assert sum(sizes.values()) == 30 * 3 and sizes["train"] > sizes["val"] > 0
    found = read_predictions(folder / "predictions/lfw/train.parquet")
    assert len(found) == sizes["train"] and not {
        name for name in found.sample_ids if name in read_predictions(
            folder / "predictions/lfw/val.parquet").sample_ids}


def test_tensorboards_own_hparams_view_sorts_the_study_by_each_test_set(
    study: dict[str, str]
) -> None:
    board = Path(study["FER_HOME"]) / "studies/toy/tb"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", "--logdir", str(board),
                               "--host", "127.0.0.1", "--port", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def asked(what: str, **body: object) -> dict[str, Any]:
        request = Request(f"http://127.0.0.1:{port}/data/plugin/hparams/{what}",
                          json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    try:
        metrics: list[dict[str, str]] = []
        until = time.monotonic() + 120
        while len(metrics) < 3 and time.monotonic() < until:
            with suppress(OSError):  # it is not up yet
                metrics = [one["name"] for one in asked("experiment").get("metricInfos", [])]
            time.sleep(0.3)
        name = {"tag": "real/test/uar", "group": ""}
        assert name in metrics
        rows = asked("session_groups", experimentName="", startIndex=0, sliceSize=9,
                     allowedStatuses=["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
                     colParams=[{"metric": name, "order": "ORDER_DESC"}])["sessionGroups"]
    finally:
        server.terminate()
        server.wait()
    expected = {path.name: read_json(path / "results/real/test.json")["uar"]
                for path in runs(study)}
    found = [(one["name"], next(metric["value"] for metric in one["metricValues"]
                                if metric["name"] == name)) for one in rows]
    assert dict(found) == pytest.approx(expected, abs=1e-6)
    assert [value for _, value in found] == sorted(dict(found).values(), reverse=True)
    assert {one["hparams"]["seed"] for one in rows} == {0.0, 1.0}


def test_damaged_predictions_and_results_are_computed_again(
    study: dict[str, str], tmp_path: Path
) -> None:
    run = runs(study)[0]
    home = tmp_path / "home"
    again = home / "runs" / run.name
    shutil.copytree(run, again)
    predictions, result = again / "predictions/real/test.parquet", again / "results/real/test.json"
    whole = predictions.read_bytes()
    predictions.write_bytes(whole[:300])
    env = {**study, "FER_HOME": str(home)}
    done = launch("evaluate", run.name, "--split", "real/test", **env)
    assert done.returncode == 0, done.stderr
    assert "computed again" in done.stdout and predictions.read_bytes() == whole
    result.write_text("[]")
    done = launch("evaluate", run.name, "--split", "real/test", **env)
    assert done.returncode == 0 and json.loads(result.read_text())["n"] > 0, done.stderr


def test_a_run_on_the_pictures_that_it_was_trained_on_is_said(study: dict[str, str]) -> None:
    run = runs(study)[0]
    trained = load_run(run / "config.yaml").train_on
    done = launch("evaluate", run.name, "--split", f"{trained}/train", "--split", "real/test",
                  "--show", "0", **study)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"was trained on {trained}/train") == 1
    assert "was trained on real" not in done.stdout
