"""What a step computes and sees does not depend on how it is divided; real gloo processes."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import rank_worker
from conftest import REPOSITORY, TOY, launch

from fer.config.load import load_run
from fer.config.paths import cache, data_root, home
from fer.study.expand import identify
from fer.study.inputs import InputDigests
from fer.study.run_folder import Store

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["rank_worker"])  # torch is imported once, not by each rank


def ranks(world: int, *arguments: object, expect: int = 0) -> str:
    """Run the worker as `world` ranks and return what they printed."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        processes = []
        logs = [Path(folder) / str(rank) for rank in range(world)]
        for rank, log in enumerate(logs):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                   "LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            processes.append(FORKS.Process(target=rank_worker.begin, args=(
                [*map(str, arguments)], {**os.environ, **(own if world > 1 else {})}, str(log))))
        free.close()
        with pytest.MonkeyPatch.context() as patch:  # the server does not get this process's path
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            forkserver.ensure_running()
        for process in processes:
            process.start()
        for process in processes:
            process.join(300)
        said = [log.read_text() for log in logs]
    assert {process.exitcode for process in processes} == {expect}, said
    return "\n".join(said)


@pytest.mark.parametrize("kind", ["plain", "consistency", *(
    pytest.param(one, marks=pytest.mark.slow) for one in ("typed", "joint", "distill"))])
def test_gradients_are_equal_for_any_division_into_ranks_and_micro_batches(
    kind: str, tmp_path: Path
) -> None:
    found = {}
    for name, world, micro in (("1 x 32", 1, 0), ("2 x 16", 2, 0), ("4 accumulated x 8", 1, 8),
                               ("3 ranks, accumulated x 5", 3, 5)):
        ranks(world, "gradient", micro, tmp_path / f"{name}.npy", kind)
        found[name] = np.load(tmp_path / f"{name}.npy")
    for name, gradient in found.items():
        np.testing.assert_allclose(gradient, found["1 x 32"], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("world", [2, 3])
def test_frozen_batch_norm_stays_byte_equal_on_any_number_of_ranks(
    world: int, tmp_path: Path
) -> None:
    ranks(world, "statistics", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["kept"] == [True, True]
    assert found["mean"] == pytest.approx([(world - 1) / 2] * 4)


PAIRED = {"train_on": "mlfw", "recipe": {"name": "pairs", "phases": [
    {"name": "all", "pair": {"how": "consistency"}}]}}


def planned(**overrides: object) -> Path:
    """Return the folder of a planned run on the toy data, nothing trained."""
    config = load_run("configs/drawn.yaml", {**TOY, "train.epochs": 2, "train.augment": "seed2021",
                                             **overrides})
    (run,) = identify(config, InputDigests(data_root(), cache()))
    folder = Store(home()).folder(run)
    folder.register(run, {})
    return folder.path


@pytest.fixture
def run_folder(places: Path) -> Path:
    """A planned run."""
    return planned()


def steps_seen(record: Path, world: int) -> dict[tuple[int, int], list[object]]:
    """Return what each (epoch, step) saw, its ranks' parts put one after another."""
    parts = [part for rank in range(world)
             for part in json.loads(Path(f"{record}.{rank}").read_text())]
    whole: dict[tuple[int, int], list[object]] = {}
    for epoch, step, _, indices, pixels in sorted(parts, key=lambda part: part[:3]):
        whole.setdefault((epoch, step), []).extend(zip(indices, pixels, strict=True))
    return whole


def clear(folder: Path) -> None:
    """Leave only what the launcher wrote."""
    subprocess.run(["rm", "-rf", *map(str, (folder / name for name in (
        "checkpoints", "train.json", "metrics.jsonl", "status.json", "tb")))], check=True)


@pytest.mark.parametrize("more", [
    pytest.param({}, id="plain"), pytest.param(PAIRED, id="paired", marks=pytest.mark.slow)])
def test_samples_and_augmentations_do_not_depend_on_the_ranks_also_across_a_kill(
    more: dict[str, object], places: Path, tmp_path: Path
) -> None:
    run_folder = planned(**more)
    ranks(1, "samples", run_folder, tmp_path / "one")
    alone = steps_seen(tmp_path / "one", 1)
    clear(run_folder)
    ranks(4, "samples", run_folder, tmp_path / "four")
    assert steps_seen(tmp_path / "four", 4) == alone
    clear(run_folder)
    stop = len(alone) // 2 + 2  # in the second epoch, after the first one's checkpoint
    ranks(2, "samples", run_folder, tmp_path / "two", stop, expect=9)
    before = steps_seen(tmp_path / "two", 2)
    ranks(1, "samples", run_folder, tmp_path / "rest")
    after = steps_seen(tmp_path / "rest", 1)
    assert before and after and before.keys() | after.keys() == alone.keys()
    assert all(alone[step] == seen for step, seen in before.items())
    assert all(alone[step] == seen for step, seen in after.items())
    assert min(after) == (1, 0)  # it went on from the checkpoint, not from the start


@pytest.mark.slow
def test_ranks_go_on_from_the_checkpoint_that_the_first_one_sees(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks(2, "samples", run_folder, tmp_path / "whole")
    whole = steps_seen(tmp_path / "whole", 2)
    metrics = (run_folder / "metrics.jsonl").read_bytes()
    clear(run_folder)
    ranks(2, "samples", run_folder, tmp_path / "first", len(whole) // 2 + 2, expect=9)
    monkeypatch.setenv("LAGGING_RANK", "1")
    ranks(2, "samples", run_folder, tmp_path / "rest")
    after = steps_seen(tmp_path / "rest", 2)
    assert min(after) == (1, 0) and after == {step: whole[step] for step in after}
    assert (run_folder / "metrics.jsonl").read_bytes() == metrics


def test_a_rank_that_does_not_see_a_run_as_trained_does_not_train_it_alone(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks(1, "samples", run_folder, tmp_path / "one")
    monkeypatch.setenv("LAGGING_RANK", "1")
    ranks(2, "samples", run_folder, tmp_path / "again")
    assert not steps_seen(tmp_path / "again", 2)


def test_cpu_ranks_keep_batch_norm_local_and_the_log_says_so(run_folder: Path) -> None:
    ranks(2, "samples", run_folder, run_folder.parent / "record")
    notes = json.loads((run_folder / "status.json").read_text())["notes"]
    assert any("batch-norm stays local" in note for note in notes)


def test_train_runs_under_torchrun_as_two_ranks(places: Path) -> None:
    from conftest import toy_arguments

    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "launch/train.py", "configs/drawn.yaml",
         *toy_arguments(train__epochs=1, evaluate_on="[lfw/eval]")],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (places / "runs").iterdir()
    assert json.loads((run / "env.json").read_text())["world_size"] == 2
    assert json.loads((run / "results/lfw/eval.json").read_text())["n"] == 24


def test_debug_uses_a_folder_of_its_own(places: Path) -> None:
    from conftest import toy_arguments

    done = launch("train", "configs/drawn.yaml", "--debug", *toy_arguments())
    assert done.returncode == 0, done.stderr
    assert not (places / "runs").exists() and list((places / "debug/runs").iterdir())
