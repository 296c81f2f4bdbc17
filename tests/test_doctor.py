"""The doctor names what is wrong and what mends it; good things are said in a line too."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import launch
from test_mistakes import fill, said_in_one_line, small_disk  # noqa: F401 - a fixture

from fer.cluster.doctor import file_systems as disk
from fer.cluster.doctor import hardware as machine
from fer.cluster.doctor.file_systems import check_disk
from fer.cluster.doctor.hardware import check_machine, driver_finding
from fer.cluster.profile_files import default_cluster
from fer.errors import CallerError

Write = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("warm_children")


@pytest.mark.real_python
def test_on_a_laptop_everything_is_ok_and_a_study_is_looked_at(
    places: Path, toy_study: Write
) -> None:
    done = launch("doctor", toy_study({"seed": [0]}), "--cluster", "local")
    assert done.returncode == 0, done.stdout
    for word in ("Python", "torch", "FER_HOME", "flock works", "atomic", "1 run;", "packs"):
        assert word in done.stdout
    assert not list(places.glob(".doctor*"))


def test_missing_data_are_a_failure_with_what_to_bring(places: Path, tmp_path: Path) -> None:
    done = launch("doctor", "sweeps/paper.yaml", "--cluster", "local",
                  FER_DATA=str(tmp_path / "none"))
    assert done.returncode == 1 and "✗" in done.stdout and "M-LFW-FER" in done.stdout


def test_a_place_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (one,) = check_disk("FER_HOME", tmp_path / "file" / "home")
    assert one.level == "failure" and "export FER_HOME" in one.mend


def test_a_full_disk_is_a_failure_and_leaves_no_probe(small_disk: Path) -> None:  # noqa: F811
    fill(small_disk)
    found = list(check_disk("FER_HOME", small_disk))
    assert found[-1].level == "failure" and "No space" in found[-1].found
    assert not list(small_disk.glob(".doctor*"))


def test_little_room_few_files_and_slow_disks_are_warnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SLOW_WRITE", 1e15)
    real = os.statvfs(tmp_path)

    class Small:
        f_bavail, f_frsize, f_favail, f_files = 10, real.f_frsize, 5, 100

    monkeypatch.setattr(disk.os, "statvfs", lambda _: Small)
    found = {one.what: one for one in check_disk("FER_HOME", tmp_path)}
    assert found["FER_HOME"].level == "warning" and "5 more files" in found["FER_HOME"].found
    assert found["FER_HOME speed"].level == "warning"


def test_a_file_system_without_locks_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fer.locks.fcntl.flock", refuse)
    found = {one.what: one for one in check_disk("FER_HOME", tmp_path)}
    assert found["FER_HOME locks"].level == "failure" and "flock" in found["FER_HOME locks"].found


@pytest.mark.parametrize(("driver", "cuda", "level"), [
    ("580.65.06", "13.0", "ok"), ("550.54", "13.0", "failure"), ("550.54", "12.6", "ok"),
    ("470.1", "12.1", "failure"), ("550.54", None, "warning")])
def test_a_driver_is_held_against_the_cuda_of_torch(
    driver: str, cuda: str | None, level: str
) -> None:
    assert driver_finding(driver, cuda).level == level


@pytest.mark.parametrize(("torch", "level"), [
    (None, "failure"), ({"torch": "2.9.1", "cuda": "12.6", "nccl": True, "gpus": []}, "failure"),
    ({"torch": "2.14.1+cu130", "cuda": "13.0", "nccl": True, "gpus": []}, "ok")])
def test_torch_is_there_and_new_enough(
    torch: dict[str, object] | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_torch", lambda: torch)
    found = {one.what: one for one in check_machine()}
    assert found["torch"].level == level


def test_a_driver_under_which_torch_sees_no_gpu_is_a_failure(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_torch", lambda: {
        "torch": "2.14.1", "cuda": "13.0", "nccl": True, "gpus": []})
    monkeypatch.setattr(machine, "_driver", lambda: "580.1")
    assert [one.level for one in check_machine() if one.what == "GPU"] == ["failure"]


def test_without_slurm_a_profile_is_a_failure(
    places: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for tool in ("python3", "env", "git"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    done = launch("doctor", "--cluster", "devcluster", PATH=str(tmp_path))
    assert done.returncode == 1 and "sbatch" in done.stdout and "login node" in done.stdout


def test_a_profile_that_is_not_there_is_one_line(places: Path) -> None:
    said_in_one_line(launch("doctor", "--cluster", "jupiter"), "jupiter", "devcluster")


def test_the_default_is_what_default_yaml_names_where_there_is_sbatch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_PROFILES", str(tmp_path))
    monkeypatch.setattr("fer.cluster.profile_files.shutil.which", lambda _: "/usr/bin/sbatch")
    assert default_cluster() == "local"  # which partition to use cannot be guessed
    (tmp_path / "default.yaml").write_text("profile: mine\n")
    assert default_cluster() == "mine"
    (tmp_path / "default.yaml").write_text("partition: gpu\n")
    with pytest.raises(CallerError, match="one key, profile"):
        default_cluster()
    monkeypatch.setattr("fer.cluster.profile_files.shutil.which", lambda _: None)
    assert default_cluster() == "local"
