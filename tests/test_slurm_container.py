"""Jobs whose Python sees nothing of SLURM, started from a shell that misleads, on real daemons."""

from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import TestCluster, brought_up, wait_until
from test_resume import numbers
from test_slurm_faults import (
    SLOW,
    calm,  # noqa: F401 - a fixture
    long_study,
)

Write = Callable[..., Path]

MISLEADING = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": "1", "SBATCH_EXPORT": "NONE", "SBATCH_TIMELIMIT": "1",
              "SBATCH_ARRAY_INX": "7", "SBATCH_JOB_NAME": "shell", "SBATCH_NO_REQUEUE": "1"}

pytestmark = pytest.mark.slurm


def test_in_a_container_from_a_misleading_shell_a_job_that_is_asked_to_leave_goes_on(
    tmp_path: Path, toy_data: Path, toy_study: Write, calm: dict[str, bytes],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with brought_up(tmp_path, toy_data, SLOW) as cluster:
        without_slurm(cluster)
        for name, value in MISLEADING.items():
            monkeypatch.setenv(name, value)
        cluster.submit(long_study(toy_study))
        for name in MISLEADING:
            monkeypatch.delenv(name)
        cluster.wait_for_step(10)
        (job,) = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy",
                                 "--format=%i").split()
        cluster.command("scancel", "--signal=USR2", job)
        wait_until(lambda: cluster.restarts() == [1], message=cluster.logs)
        cluster.wait_for_state("done", "failed", "cancelled", patience=300)
        (run,) = cluster.runs()
        assert cluster.states() == ["done"], cluster.logs()
        assert numbers(run) == calm, cluster.logs()
        assert "rank 0 of 1" in cluster.logs()


def without_slurm(cluster: TestCluster, keep: bool = False) -> None:
    """Give the jobs a Python with an empty PATH, as in an image without SLURM's commands.

    Args:
        keep: change the profile as it is, not the cluster's first one.
    """
    empty = cluster.root / "empty"
    empty.mkdir(exist_ok=True)
    if not keep:
        cluster.write_profile()
    profile = cluster.root / "profiles/test.yaml"
    text = profile.read_text()
    assert "python: env PYTHONPATH" in text
    profile.write_text(text.replace("python: env ", f"python: env PATH={empty} "))


def test_a_probe_tries_a_node_from_inside_the_container_and_comes_back_once(
    tmp_path: Path, toy_data: Path
) -> None:
    with brought_up(tmp_path, toy_data) as cluster:
        without_slurm(cluster)
        done = cluster.launch("doctor", "--cluster", "test", "--probe")
        assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
        for words in ("probe: Python", "probe: FER_HOME", "probe: FER_DATA", "no GPU on n",
                      "no squeue, scontrol inside", "probe: requeue: the job came back after"):
            assert words in done.stdout, done.stdout
        assert cluster.restarts("fer-probe") == [1]
