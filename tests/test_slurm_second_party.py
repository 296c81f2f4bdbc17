"""The code of commit 70f3a1f and this one on one store and one cluster, in turns. Real daemons."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from slurm_cluster import TestCluster, brought_up
from test_second_party import old

__all__ = ["old"]  # the fixture
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.real_python]


@pytest.fixture
def cluster(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster on which one job of an array runs at a time, slowly."""
    with brought_up(tmp_path, toy_data, "slow:0.5", profile={"array_parallelism": 1},
                    new=True) as made:
        yield made


def study(code: Path, folder: Path) -> Path:
    """Write a study of two runs whose configuration means the same to both."""
    path = folder / f"{code.name}.yaml"
    path.write_text(yaml.safe_dump({
        "schema": 1, "study": "toy", "base": str(code / "configs/study2021.yaml"),
        "grid": {"seed": [0, 1]}, "evaluate_on": ["lfw/eval"],
        "set": {"backbone": "resmasking_tiny", "train.epochs": 3, "train.batch_size": 16}}))
    return path


def submit_by_old(cluster: TestCluster, old: Path, folder: Path
                  ) -> subprocess.CompletedProcess[str]:
    """Submit the study with the old launcher."""
    return subprocess.run(
        [sys.executable, old / "launch/sweep.py", study(old, folder), "--cluster", "test",
         "--detach"], cwd=old, text=True, capture_output=True,
        env={**os.environ, **cluster.env, "PYTHONPATH": str(old)})


def trained(cluster: TestCluster) -> list[str]:
    """Return the ids of all arrays that train, ended or not."""
    return sorted({job.get("ArrayJobId", number) for number, job in cluster.jobs().items()
                   if job["JobName"] == "fer-toy"})


def test_this_code_leaves_what_the_old_one_has_submitted_and_takes_over_what_it_finished(
    cluster: TestCluster, old: Path, tmp_path: Path
) -> None:
    done = submit_by_old(cluster, old, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = trained(cluster)
    cluster.wait_for_step_of(3, 1)
    assert sorted(cluster.states()) == ["queued", "running"]
    cluster.submit(study(REPOSITORY, tmp_path))
    assert trained(cluster) == jobs
    cluster.wait_for_state("done", "failed", patience=240)
    assert cluster.states() == ["done", "done"], cluster.logs()
    assert "nothing to train" in cluster.submit(study(REPOSITORY, tmp_path))
    assert trained(cluster) == jobs and cluster.restarts() == [0, 0]


def test_the_old_code_leaves_what_this_one_has_submitted(
    cluster: TestCluster, old: Path, tmp_path: Path
) -> None:
    """It sees a run at work and one in the queue, and cannot read their configurations."""
    cluster.submit(study(REPOSITORY, tmp_path))
    jobs = trained(cluster)
    cluster.wait_for_step_of(3, 1)
    done = submit_by_old(cluster, old, tmp_path)
    assert "2 runs: 1 running, 1 queued" in done.stdout and done.returncode == 2, done.stderr
    assert trained(cluster) == jobs
    cluster.wait_for_state("done", "failed", patience=240)
    assert cluster.states() == ["done", "done"], cluster.logs()
    assert trained(cluster) == jobs and cluster.restarts() == [0, 0]
