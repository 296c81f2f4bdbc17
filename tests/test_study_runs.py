"""A whole study on one machine, with the real submitit, Accelerate and processes."""

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import launch, toy_arguments
from test_resume import Start, numbers

Write = Callable[..., Path]
GRID = {"backbone": ["resmasking_tiny"], "train_on": ["lfw", "mlfw"], "seed": [0]}


def sweep(study: Path, *more: object) -> tuple[int, str]:
    """Run `launch/sweep.py` and return its exit code and what it printed."""
    done = launch("sweep", study, *more)
    return done.returncode, done.stdout + done.stderr


def results(home: Path, study: str = "toy") -> bytes:
    return (home / "studies" / study / "report" / "results.csv").read_bytes()


def trained_at(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.glob("runs/*/train.json")}


def test_a_study_ends_with_its_table_and_page_and_a_second_call_trains_nothing(
    places: Path, toy_study: Write
) -> None:
    study = toy_study(GRID)
    code, said = sweep(study)
    assert code == 0, said
    first, before = results(places), trained_at(places)
    assert len(list(csv.DictReader(first.decode().splitlines()))) == 2 * 2
    assert (places / "studies/toy/report/index.html").is_file()
    code, said = sweep(study)
    assert code == 0 and "nothing to train" in said
    assert (results(places), trained_at(places)) == (first, before)


def test_a_new_test_set_adds_evaluations_and_trains_nothing(
    places: Path, toy_study: Write
) -> None:
    sweep(toy_study(GRID))
    before = trained_at(places)
    code, said = sweep(toy_study(GRID, evaluate_on=["lfw/eval", "real/test", "mlfw/eval"]))
    assert code == 0, said
    assert trained_at(places) == before
    assert b"mlfw/eval" in results(places)


def test_one_failing_run_stops_no_other_and_is_shown_with_its_traceback(
    places: Path, toy_study: Write
) -> None:
    study = toy_study({**GRID, "optim.lr": [0.003, 1e30]}, set={
        **{k: v for k, v in dict(a.split("=", 1) for a in toy_arguments()).items()
           if k not in GRID and k != "data.drawn"}, "data.drawn": None, "optim.clip_norm": None,
        "optim.name": "sgd", "train.epochs": 1, "train.batch_size": 8,
        "keep.tensorboard": False})
    code, said = sweep(study)
    assert code == 1
    assert "NonFiniteLoss" in said and "step" in said and "Traceback" in said
    states = [row["state"] for row in
              json.loads(launch("status", "toy", "--json").stdout)]
    assert sorted(states) == ["done", "done", "failed", "failed"]


def test_children_of_a_failed_parent_are_blocked_and_said_so(
    places: Path, toy_study: Write
) -> None:
    study = toy_study({"recipe": ["lfw_then_target"], "train_on": ["mlfw"], "seed": [0]},
                      set={**toy_set(), "optim.lr": 1e30, "optim.name": "sgd",
                           "optim.clip_norm": None})
    code, said = sweep(study)
    assert code == 1 and "blocked: resmasking_tiny-lfw_then_target" in said


def toy_set() -> dict[str, object]:
    """The toy overrides as a study's `set`."""
    from conftest import TOY

    return {key: value for key, value in TOY.items() if key != "train_on"}


@pytest.mark.slow
def test_two_studies_that_share_runs_do_not_train_them_twice(
    places: Path, toy_study: Write, start: Start
) -> None:
    grid = {**GRID, "seed": [0, 1]}
    first = start("sweep", toy_study(grid, name="one"))
    second = start("sweep", toy_study({**grid, "train_on": ["mlfw", "lfw"]}, name="two"))
    for process in (first, second):
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
    runs = list(places.glob("runs/*"))
    assert len(runs) == 4
    for run in runs:
        epochs = [json.loads(line)["epoch"] for line in
                  (run / "metrics.jsonl").read_text().splitlines()]
        assert epochs == [0, 1, 2]
        assert json.loads((run / "status.json").read_text())["restarts"] == 0


@pytest.mark.real_python
@pytest.mark.slow
def test_a_study_killed_again_and_again_gives_the_table_of_one_that_was_not(
    places: Path, toy_study: Write, start: Start, tmp_path: Path
) -> None:
    study = toy_study({"recipe": ["scratch", "lfw_then_target"], "train_on": ["mlfw"],
                       "seed": [0, 1]}, resources={"runs_per_job": 2})
    calm = launch("sweep", study, FER_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stdout + calm.stderr
    for moment in ("runs/*/config.yaml", "runs/*/checkpoints/step-*", "runs/*/train.json"):
        process = start("sweep", study)
        while not any(places.glob(moment)):
            assert process.poll() is None, "it ended before the moment came"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code, said = sweep(study)
    assert code == 0, said
    assert results(places) == results(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.real_python
def test_a_launcher_killed_alone_finds_its_jobs_again(
    places: Path, toy_study: Write, start: Start
) -> None:
    study = toy_study(GRID)
    process = start("sweep", study)
    deadline = time.monotonic() + 60
    while not list(places.glob("runs/*/checkpoints")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    code, said = sweep(study)
    assert code == 0, said
    for run in places.glob("runs/*"):
        assert json.loads((run / "status.json").read_text())["restarts"] == 0


@pytest.mark.slow
def test_runs_that_share_a_process_have_the_numbers_of_runs_alone(
    places: Path, toy_study: Write, tmp_path: Path
) -> None:
    grid = {"train_on": ["lfw"], "seed": [0, 1], "compute.precision": ["float32", "bf16"]}
    for home, together in ((places, 8), (tmp_path / "alone", 1)):
        done = launch("sweep", toy_study(grid, resources={"runs_per_job": together}),
                      "--slots", 1, FER_HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr
    for run in places.glob("runs/*"):
        assert numbers(run) == numbers(tmp_path / "alone" / "runs" / run.name)


def test_a_cancelled_run_is_said_so_and_retry_takes_it_up(
    places: Path, toy_study: Write
) -> None:
    study = toy_study({**GRID, "train_on": ["lfw"]})
    launch("sweep", study)
    grid = {**GRID, "train_on": ["lfw"], "seed": [0, 1]}
    study = toy_study(grid)
    (name,) = [line.split()[1] for line in launch("sweep", study, "--dry-run").stdout.splitlines()
               if line.startswith("train ")]
    (places / "runs" / name).mkdir()
    (places / "runs" / name / "cancel").touch()
    code, said = sweep(study)
    assert code == 1 and name in said and not (places / "runs" / name / "train.json").exists()
    assert sweep(study, "--retry")[0] == 0


@pytest.mark.parametrize("slots", [1, 2])
def test_dry_run_prints_runs_and_plan_and_changes_nothing(
    slots: int, places: Path, toy_study: Write
) -> None:
    done = launch("sweep", toy_study(GRID), "--dry-run", "--slots", slots)
    assert done.returncode == 0 and "2 runs: 2 train" in done.stdout
    assert not places.exists()


def test_a_run_of_two_ranks_works_on_one_machine_as_on_a_cluster(
    places: Path, toy_study: Write
) -> None:
    done = launch("sweep", toy_study({"train_on": ["lfw"], "seed": [0]}, resources={"gpus": 2}))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = places.glob("runs/*")
    assert json.loads((run / "env.json").read_text())["world_size"] == 2
    assert not list(places.glob("studies/toy/jobs/**/*.pkl"))


@pytest.mark.slow
def test_a_rank_that_raises_fails_its_run_once_with_its_own_error(
    places: Path, toy_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import REPOSITORY

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests/inject"))
    monkeypatch.setenv("FER_INJECT", "raise:1:3")
    done = launch("sweep", toy_study({"train_on": ["lfw"], "seed": [0]}, resources={"gpus": 2}))
    assert done.returncode == 1
    assert "injected: this rank raises (rank 1 on" in done.stdout and "Traceback" in done.stdout
