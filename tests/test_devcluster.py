"""The single-machine SLURM: up twice is up once, down removes all, nothing else is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import SCRIPT, free_ports, require_slurm

pytestmark = pytest.mark.slurm


def devcluster(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], capture_output=True,
                          text=True, timeout=200)


@pytest.fixture
def folder() -> Path:
    return Path(f"/tmp/fer-dev-{os.getpid()}")


@pytest.mark.slow
def test_one_command_brings_it_up_with_accounting_and_one_takes_it_down(folder: Path) -> None:
    require_slurm(accounting=True)
    settings = ["--folder", folder, "--pace", "fast", "--first-port", free_ports(8), "--nodes", 3,
                "--gpus", 4, "--max-array", 50]
    try:
        first = devcluster("up", *settings)
        assert first.returncode == 0, first.stderr
        pids = {path.name: path.read_text() for path in (folder / "run").glob("*.pid")}
        again = devcluster("up", *settings)
        assert again.returncode == 0, again.stderr
        assert {path.name: path.read_text() for path in (folder / "run").glob("*.pid")} == pids
        shown = devcluster("env", "--folder", folder).stdout.strip()
        said = subprocess.run(
            ["bash", "-c", f"{shown}; sinfo -h -N -p main -o '%N %G %t'; sacct -X; "
                           "scontrol show config | grep MaxArraySize; "
                           "srun --gpus-per-node=3 bash -c 'echo GPUs $CUDA_VISIBLE_DEVICES'"],
            capture_output=True, text=True)
        for word in ("n3 gpu:4 idle", "State", "= 50", "GPUs 0,1,2"):
            assert word in said.stdout, said.stdout + said.stderr
        assert listening_beyond_loopback(pids.values()) == []
        other = devcluster("up", "--folder", folder, "--nodes", 2)
        assert other.returncode == 2 and "other settings" in other.stderr
    finally:
        assert devcluster("down", "--folder", folder).returncode == 0
    assert not folder.exists()
    assert not [pid for pid in pids.values() if is_running(pid)]


def listening_beyond_loopback(pids: object) -> list[str]:
    """Return the listening addresses of some processes that other machines could reach."""
    import psutil

    found = []
    for pid in pids:  # type: ignore[attr-defined]
        for connection in psutil.Process(int(pid)).net_connections("inet"):
            if connection.status == "LISTEN" and not connection.laddr.ip.startswith("127."):
                found.append(f"{pid} {connection.laddr}")
    return found


def is_running(pid: str) -> bool:
    """Whether a process that is no zombie has this id."""
    import psutil

    try:
        return bool(psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_folder_that_is_something_else_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = devcluster("down", "--folder", tmp_path)
    assert done.returncode == 2 and (tmp_path / "precious").exists()


def test_a_taken_port_is_one_line(folder: Path) -> None:
    import socket

    require_slurm()
    with socket.socket() as taken:
        first = free_ports(8)
        taken.bind(("127.0.0.1", first + 1))
        taken.listen()
        done = devcluster("up", "--folder", folder, "--first-port", first, "--no-accounting")
    assert done.returncode == 2 and f"port {first + 1} is taken" in done.stderr
    assert not folder.exists()


def test_without_a_cluster_env_says_how_to_bring_one_up(tmp_path: Path) -> None:
    done = devcluster("env", "--folder", tmp_path / "none")
    assert done.returncode == 2 and "devcluster.py up" in done.stderr


@pytest.mark.parametrize("verb", ["up", "down", "env", "install"])
def test_each_verb_has_help(verb: str) -> None:
    done = devcluster(verb, "--help")
    assert done.returncode == 0 and "Usage" in done.stdout


def test_its_configuration_says_what_was_asked_for(tmp_path: Path) -> None:
    from slurm_cluster import cluster_files

    plain = cluster_files.slurm_conf(cluster_files.Cluster(tmp_path, warn=False, accounting=False))
    assert "preempt_send_user_signal" not in plain and "GraceTime" not in plain
    assert "slurmdbd" not in plain
    warned = cluster_files.slurm_conf(cluster_files.Cluster(tmp_path, grace=33, max_array=7))
    assert "preempt_send_user_signal" in warned and "GraceTime=33" in warned
    assert "MaxArraySize=7" in warned and "accounting_storage/slurmdbd" in warned
