"""A study of 24 runs on a cluster where everything goes wrong, one fault after another."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import launch
from slurm_cluster import TestCluster, brought_up, wait_until
from test_slurm_container import MISLEADING, without_slurm
from test_slurm_dispatch import short
from test_slurm_passing import count_calls

from fer.study.slurm_poll import SHORTEST_S

Write = Callable[..., Path]
GRID = {"train_on": ["lfw", "mlfw"], "seed": list(range(12))}

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.mark.timeout(1500)
def test_a_study_ends_with_the_table_of_the_local_one_and_no_run_is_trained_twice(
    tmp_path: Path, toy_data: Path, toy_study: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = toy_study(GRID, set=short(GRID, **{"train.epochs": 4}),
                      resources={"runs_per_job": 3})
    with brought_up(tmp_path, toy_data, "hang:0:9 slow:0.3", new=True, accounting=True,
                    enforce=True) as cluster:
        cluster.command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=6")
        cluster.write_profile(hang_minutes=0.25, environment={"FER_INJECT": cluster.inject})
        without_slurm(cluster, keep=True)
        log = count_calls(cluster, every=5)
        for name, value in MISLEADING.items():
            monkeypatch.setenv(name, value)
        begun = time.monotonic()
        sweep = cluster.start("sweep", study, "--cluster", "test")
        for name in MISLEADING:
            monkeypatch.delenv(name)
        done_at_least(cluster, 2)
        wait_until(lambda: answer(cluster, "sbatch", "--partition=urgent", "--nodes=2",
                                  f"--cpus-per-task={cluster.settings.cores}",
                                  "--output=/dev/null", "--job-name=urgent", "--wrap=sleep 3"))
        done_at_least(cluster, 6)
        cluster.end("slurmd-n2")
        wait_until(lambda: "down" in answer(cluster, "sinfo", "--noheader", "--format=%T"), 120)
        cluster.bring_up()
        done_at_least(cluster, 10)
        kill_a_rank(cluster)
        output, _ = sweep.communicate(timeout=900)
        minutes = (time.monotonic() - begun) / 60
        assert sweep.returncode == 0, output + cluster.logs()
        assert cluster.states() == ["done"] * 24
        calls = Counter(log.read_text().split())
        table = (cluster.home / "studies/toy/report/results.csv").read_bytes()
        for run in cluster.runs():
            epochs = [json.loads(line)["epoch"] for line in
                      (run / "metrics.jsonl").read_text().splitlines()]
            assert epochs == sorted(set(epochs)), run
            begins = (run / "logs/train.log").read_text().count("begins at step 0 ")
            assert begins <= 2, run  # again only where nothing had been saved
        assert "hung: rank 0" in cluster.logs() and "MaxSubmit" in output
        print(f"{minutes:.1f} minutes, calls: {dict(calls)}")
    local = launch("sweep", study, FER_HOME=str(tmp_path / "here"), FER_DATA=str(toy_data),
                   FER_CACHE=str(tmp_path / "cache"), timeout=900)
    assert local.returncode == 0, local.stdout + local.stderr
    assert (tmp_path / "here/studies/toy/report/results.csv").read_bytes() == table
    # something changes all the time: at most one reading (two calls) each five seconds, of which
    # a fifth fails and is repeated
    assert calls["squeue"] <= 2 * 60 / SHORTEST_S * minutes * 1.25, calls


def answer(cluster: TestCluster, *words: str) -> str:
    """Return what a command of SLURM prints to one whom it does not fail; empty if it refuses."""
    done = subprocess.run(words, capture_output=True, text=True,
                          env={**os.environ, "SLURM_CONF": cluster.env["SLURM_CONF"]})
    return done.stdout if done.returncode == 0 else ""


def done_at_least(cluster: TestCluster, count: int) -> None:
    """Wait until so many runs are done."""
    def states() -> list[str]:
        return [json.loads(file.read_text())["state"]
                for file in cluster.home.glob("runs/*/status.json")]

    wait_until(lambda: states().count("done") >= count, 400, cluster.logs)


def kill_a_rank(cluster: TestCluster) -> None:
    """Kill a process that trains, without notice."""
    def victim() -> int:
        for file in cluster.home.glob("runs/*/status.json"):
            lease = (file.parent / "lease").read_text()
            if json.loads(file.read_text())["state"] == "running" and lease:
                return int(json.loads(lease)["pid"])
        return 0

    os.kill(int(str(wait_until(victim))), signal.SIGKILL)
