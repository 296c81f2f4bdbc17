"""Exact resume: a run killed at any moment ends with the bytes of one that was not."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import launch, toy_arguments

Start = Callable[..., subprocess.Popen[str]]
PHASES = ("[{name: probe, train: [head], batch_norm: frozen, views: 4, epochs: 4, "
          "schedule: {name: constant}, optim: {name: sgd}}, "
          "{name: finetune, lr: 0.003, optim: {name: radam, weight_decay: 0.1}}]")
LONG = {"recipe": "lp_ft", "recipe__phases": PHASES, "train__epochs": 6,
        "schedule__name": "plateau", "evaluate_on": "[lfw/eval, real/test]",
        "keep__every_minutes": 0.002}


def only_run(home: Path, part: str = "lp_ft") -> Path:
    """Return the one run folder whose name has `part`."""
    (folder,) = [path for path in (home / "runs").iterdir() if f"-{part}-" in path.name]
    return folder


def numbers(folder: Path) -> dict[str, bytes]:
    """Return every file that holds numbers of a run, by name."""
    kept = [folder / "metrics.jsonl", folder / "train.json",
            *sorted(folder.glob("checkpoints/*/model.safetensors")),
            *sorted(folder.glob("predictions/**/*.parquet")),
            *sorted(folder.glob("results/**/*.json"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def uninterrupted(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The numbers of a run that nothing disturbed, in a home of its own."""
    home = tmp_path_factory.mktemp("calm")
    done = launch("train", "configs/drawn.yaml", *toy_arguments(**LONG), FER_DATA=str(toy_data),
                  FER_HOME=str(home), FER_CACHE=str(home / "cache"))
    assert done.returncode == 0, done.stderr
    return numbers(only_run(home))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=[pytest.mark.slow,
                                                            pytest.mark.real_python]),
                                  pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_moments_ends_with_the_numbers_of_an_uninterrupted_one(
    seed: int, places: Path, start: Start, uninterrupted: dict[str, bytes]
) -> None:
    moments = random.Random(seed)
    for _ in range(3):
        step = _steps(places, "lp_ft") + moments.randrange(1, 12)
        process = start("train", "configs/drawn.yaml", *toy_arguments(**LONG))
        _kill_when(process, lambda step=step: _steps(places, "lp_ft") >= step)
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places)) == uninterrupted


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    places: Path, start: Start, uninterrupted: dict[str, bytes]
) -> None:
    process = start("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    _kill_when(process, lambda: any(places.glob("runs/*-lp_ft-*/checkpoints/.step-*.tmp-*/model*")))
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places)) == uninterrupted


@pytest.mark.slow
def test_a_run_killed_during_evaluation_evaluates_again_and_trains_nothing(
    places: Path, start: Start, uninterrupted: dict[str, bytes]
) -> None:
    process = start("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    _kill_when(process, lambda: any(places.glob("runs/*-lp_ft-*/train.json")))
    trained = {path: path.stat().st_mtime_ns for path in places.glob("runs/*/checkpoints/*/*")}
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    assert last.returncode == 0, last.stdout + last.stderr
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert numbers(only_run(places)) == uninterrupted


def _kill_when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    while not happened():
        assert process.poll() is None, "it ended before the moment came"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # until the end of its output: of a warm Python too


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_serves(
    damage: str, places: Path, start: Start, uninterrupted: dict[str, bytes]
) -> None:
    process = start("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    _kill_when(process, lambda: _steps(places, "lp_ft") >= 20)
    newest = sorted(only_run(places).glob("checkpoints/step-*"))[-1] / "model.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**LONG))
    assert "falling back to an earlier checkpoint" in last.stdout + last.stderr
    assert numbers(only_run(places)) == uninterrupted


@pytest.mark.slow
def test_every_augmentation_at_once_goes_on_where_it_was_killed(
        places: Path, tmp_path: Path, start: Start) -> None:
    mixing = {"train__augment": "strong", "train__mix": "{how: either, alpha: 1.0}",
              "train__masks": "{template: drawn, styles: [flat, cloth]}",
              "train__epochs": 4, "keep__every_minutes": 0.002}
    calm = launch("train", "configs/drawn.yaml", *toy_arguments(**mixing),
                  FER_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stdout + calm.stderr
    process = start("train", "configs/drawn.yaml", *toy_arguments(**mixing))
    _kill_when(process, lambda: len(list(places.glob("runs/*/checkpoints/step-*"))) >= 2)
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**mixing))
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places, "scratch")) == numbers(only_run(tmp_path / "calm", "scratch"))


@pytest.mark.slow
def test_a_run_that_is_held_near_its_start_goes_on_where_it_was_killed(
        places: Path, tmp_path: Path, start: Start) -> None:
    held = {"recipe": "l2sp", "train__epochs": 3, "keep__every_minutes": 0.002}
    calm = launch("train", "configs/drawn.yaml", *toy_arguments(**held),
                  FER_HOME=str(tmp_path / "calm"))
    assert calm.returncode == 0, calm.stdout + calm.stderr
    process = start("train", "configs/drawn.yaml", *toy_arguments(**held))
    _kill_when(process, lambda: _steps(places, "l2sp") >= 28)  # in its second phase
    last = launch("train", "configs/drawn.yaml", *toy_arguments(**held))
    assert last.returncode == 0, last.stdout + last.stderr
    assert numbers(only_run(places, "l2sp")) == numbers(only_run(tmp_path / "calm", "l2sp"))


def _steps(home: Path, part: str) -> int:
    """Return the step of the newest checkpoint of a run; 0 where there is none."""
    folders = home.glob(f"runs/*-{part}-*/checkpoints/step-*")
    found = [int(path.name.split("-")[1]) for path in folders]
    return max(found, default=0)
