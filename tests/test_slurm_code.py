"""Jobs on the real SLURM run the code that was submitted, whole, or none at all."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from slurm_cluster import TestCluster, brought_up
from test_slurm_dispatch import short, submitted

from fer import CODE_GONE

Write = Callable[..., Path]
pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, toy_data: Path) -> Iterator[TestCluster]:
    """One cluster for the file."""
    with brought_up(tmp_path_factory.mktemp("slurm"), toy_data, nodes=1) as cluster:
        yield cluster


@pytest.fixture
def cluster(running: TestCluster) -> TestCluster:
    """The cluster with an empty store."""
    shutil.rmtree(running.home, ignore_errors=True)
    running.write_profile()
    return running


@pytest.fixture
def tarball(tmp_path: Path) -> Path:
    """The code as it is unpacked from a tarball: no git, and a file that hides torch."""
    folder = tmp_path / "unpacked"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(
        ".git", "__pycache__", ".*_cache", "runs", "studies"))
    (folder / "torch.py").write_text("raise SystemExit('the torch of somebody')\n")
    return folder


def submit_from(checkout: Path, cluster: TestCluster, study: Path) -> None:
    """Submit from another checkout, typed in its folder, where this one is installed."""
    (checkout / "path").mkdir(exist_ok=True)
    (checkout / "path/fer").symlink_to("../fer")
    done = subprocess.run(
        [sys.executable, "launch/sweep.py", str(study), "--cluster", "test", "--detach"],
        capture_output=True, text=True, cwd=checkout,
        env={**os.environ, **cluster.env, "PYTHONPATH": str(checkout / "path")})
    assert done.returncode == 0, done.stderr


def code_of(cluster: TestCluster) -> Path:
    (code,) = cluster.home.glob("studies/toy/slurm/code-*")
    return code


@pytest.mark.real_python
@pytest.mark.slow
def test_jobs_of_a_checkout_without_git_run_all_of_its_code_and_nothing_beside_it(
    cluster: TestCluster, tarball: Path, toy_study: Write
) -> None:
    for module in ("fer/data/batches.py", "fer/train/trainer.py"):
        with open(tarball / module, "a") as file:
            file.write(f"\nprint('{module}:', __file__)\n")
    submit_from(tarball, cluster, toy_study({"seed": [0]}, set=short({"seed": []})))
    cluster.wait_for_state("done", "failed", "lost")
    assert cluster.states() == ["done"], cluster.logs()
    said, code = cluster.logs(), code_of(cluster)
    for module in ("fer/data/batches.py", "fer/train/trainer.py"):
        assert f"{module}: {code / module}\n" in said


def test_a_job_whose_code_is_gone_trains_nothing_and_status_says_so(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    study = toy_study({"seed": [0]}, set=short({"seed": []}))
    cluster.submit(study)
    shutil.rmtree(code_of(cluster))
    cluster.command("scontrol", "release", submitted(cluster)[0][0])
    (row,) = cluster.wait_for_state("done", "failed", "lost")
    assert row["state"] == "lost" and str(row["error"]).endswith(CODE_GONE), row
    (run,) = cluster.runs()
    assert not (run / "train.json").exists() and not (run / "status.json").exists()
    cluster.write_profile()
    again = cluster.launch("sweep", study, "--cluster", "test")  # with a new copy
    assert again.returncode == 0, again.stdout + cluster.logs()


@pytest.mark.parametrize("part", ["fer/data", "fer/train/trainer.py", "fer/study/run_folder.py"])
def test_a_job_whose_code_is_not_whole_runs_no_other_code(
    part: str, cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    cluster.submit(toy_study({"seed": [0]}, set=short({"seed": []})))
    shutil.rmtree(code_of(cluster) / part) if part == "fer/data" else (
        code_of(cluster) / part).unlink()
    cluster.command("scontrol", "release", submitted(cluster)[0][0])
    (row,) = cluster.wait_for_state("done", "failed", "lost")
    assert row["state"] in ("failed", "lost") and CODE_GONE in str(row["error"]), row
    (run,) = cluster.runs()
    assert not (run / "train.json").exists()
