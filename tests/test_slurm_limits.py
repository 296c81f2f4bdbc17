"""Limits of a cluster on the number of jobs, and accounts that it refuses, on real daemons."""

from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import TestCluster, brought_up
from test_slurm_dispatch import short

Write = Callable[..., Path]
GRID = {"train_on": ["lfw"], "seed": [0, 1, 2, 3, 4, 5]}

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture
def strict(tmp_path: Path, toy_data: Path) -> "TestCluster":
    """A cluster where this user may have three jobs."""
    with brought_up(tmp_path, toy_data, new=True, accounting=True, enforce=True) as cluster:
        cluster.command("sacctmgr", "-i", "modify", "user", "root", "set", "MaxSubmitJobs=3")
        yield cluster


@pytest.mark.timeout(600)
def test_a_limit_on_jobs_is_filled_and_the_rest_follows_while_somebody_waits(
    strict: TestCluster, toy_study: Write
) -> None:
    study = toy_study(GRID, set=short(GRID))
    done = strict.launch("sweep", study, "--cluster", "test", "--detach")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 of 6 runs are submitted; the same command submits the rest" in done.stdout
    assert "MaxSubmit" in done.stdout
    assert set(strict.states()) <= {"queued", "pending", "running", "done"}
    assert strict.states().count("pending") == 3
    done = strict.launch("sweep", study, "--cluster", "test", timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr + strict.logs()
    assert strict.states() == ["done"] * 6
    jobs = [job for job in strict.jobs().values() if job["JobName"] == "fer-toy"]
    assert len(jobs) == 6  # nobody trained twice


def test_a_wrong_account_leaves_nothing_queued(strict: TestCluster, toy_study: Write) -> None:
    strict.write_profile(account="nobodys")
    study = toy_study(GRID, set=short(GRID))
    done = strict.launch("sweep", study, "--cluster", "test")
    assert done.returncode == 2 and "0 of 6 runs are submitted" in done.stderr, done.stderr
    assert "account" in done.stderr.lower() and "refused.sh" in done.stderr
    assert strict.states() == ["pending"] * 6
