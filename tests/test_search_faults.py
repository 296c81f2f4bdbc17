"""What goes wrong in a search on a real Ray, each with a clear end."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY, TOY, launch
from test_mistakes import fill, small_disk  # noqa: F401 - a fixture
from test_search import (
    PATIENCE_S,
    epochs,
    family,
    left_behind,
    trials,
    wait_until,
    write_search,
)

from fer.cluster.dist_env import free_port_from
from fer.cluster.local_queue import free_port
from fer.errors import Unavailable
from fer.search.ray_local import ray_here, settings
from fer.search.ray_slurm import head_arguments, ray_node, takes_connections
from fer.study.run_folder import RunFolder

INJECT = str(REPOSITORY / "tests/inject")
Start = Callable[..., subprocess.Popen[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1300)]
launch = partial(launch, timeout=PATIENCE_S)


@pytest.mark.parametrize("late", [1, 9])
def test_where_ray_starts_too_slowly_it_is_started_again_and_the_end_is_one_line(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Ray's start on a busy machine, which takes longer than 30 seconds."""
    import ray

    starts: list[object] = []

    def init(**_: object) -> None:
        starts.append(None)
        if len(starts) <= late:
            raise Exception("The current node timed out during startup. This could happen …")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    if late == 1:
        with ray_here(1, 0):
            assert len(starts) == 2
    else:
        with pytest.raises(Unavailable, match="in 3 attempts"), ray_here(1, 0):
            raise AssertionError
    assert not left_behind(os.getpid())


def test_a_trial_that_diverges_fails_with_its_traceback_and_the_search_goes_on(
    places: Path
) -> None:
    space = {"optim.lr": {"choice": [1e-3, 1e30, 2e-3]}}
    done = launch("tune", write_search(places.parent, space=space, searcher="grid"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(places)
    assert [trial["state"] == "failed" for trial in found] == [False, True, False]
    status = RunFolder(places / "runs" / found[1]["run"]).status()
    assert "NonFiniteLoss" in status.traceback and "the loss is" in found[1]["error"]
    assert "failed: trial 1" in done.stdout
    assert json.loads((places / "studies/toy-search/best.json").read_text())["trial"] != 1


def test_a_raylet_that_is_killed_neither_hangs_the_search_nor_loses_a_trial(
    places: Path, start: Start
) -> None:
    file = write_search(places.parent, set={**TOY, "recipe": "scratch", "train.epochs": 10})
    driver = start("tune", file)
    wait_until(lambda: epochs(places) > 0)
    children = family(driver.pid)
    (raylet,) = [one for one in children if one.name() == "raylet"]
    raylet.kill()
    output, _ = driver.communicate(timeout=PATIENCE_S)
    if driver.returncode:  # trials in processes that live may even end all of it
        assert driver.returncode == 2 and "Ray has died" in output, output
    assert not left_behind(driver.pid)
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive
    done = launch("tune", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [trial["number"] for trial in trials(places)] == list(range(6))
    assert all(trial["state"] in ("done", "stopped") for trial in trials(places))


def test_another_ray_on_the_machine_is_neither_joined_nor_disturbed(
    places: Path
) -> None:
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    folder, port = f"/tmp/o{os.getpid()}", free_port()
    environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    theirs = subprocess.Popen(
        [*ray, "start", "--head", f"--port={port}", "--include-dashboard=false", "--num-cpus=1",
         f"--temp-dir={folder}", "--object-store-memory=100000000", "--block",
         "--disable-usage-stats"], env=environment, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, text=True)
    try:
        wait_until(lambda: any(one.name() == "raylet" for one in family(theirs.pid)))
        done = launch("tune", write_search(places.parent, budget={"trials": 2}),
                      RAY_ADDRESS=f"127.0.0.1:{port}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert theirs.poll() is None
        assert any(one.name() == "raylet" for one in family(theirs.pid))
    finally:
        os.killpg(theirs.pid, signal.SIGKILL)
        theirs.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_head_comes_up_on_any_port_of_a_job_and_answers_nobody_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray gives its workers ports of its own, and a job's port may be one of them."""
    for name, value in settings("").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    port = free_port_from(19_494)
    with ray_node(head_arguments(port), tmp_path / "log") as head:
        assert takes_connections(f"127.0.0.1:{port}", head), (tmp_path / "log").read_text()
        wait_until(lambda: {"gcs_server", "raylet"} <= listening(head.pid).keys())
        found = listening(head.pid)
        assert set(found) <= {"gcs_server", "raylet", "python", "ray::RuntimeEnvAgent",
                              "ray::DashboardAgent"}, found
        assert not {6379, 8265, 10_001} & set().union(*found.values()), "a port of Ray's own choice"
        # a raylet listens before the head knows its node
        wait_until(lambda: connect(port, RAY_AUTH_TOKEN="0" * 64).returncode == 0)
        assert connect(port, RAY_AUTH_TOKEN="1" * 64).returncode != 0
        assert connect(port, RAY_AUTH_MODE="disabled").returncode != 0


def listening(head: int) -> dict[str, set[int]]:
    """Return the ports on which a head's processes listen, by the names of these."""
    found: dict[str, set[int]] = {}
    for process in psutil.Process(head).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN:
                    found.setdefault(process.name(), set()).add(one.laddr.port)
    return found


def connect(port: int, **env: str) -> subprocess.CompletedProcess[str]:
    """Have a process connect to a head that has no token but what `env` gives it."""
    known = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN_PATH"}
    code = f"import ray; ray.init(address='127.0.0.1:{port}'); assert len(ray.nodes()) == 1"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**known, "RAY_gcs_server_request_timeout_seconds": "5", **env},
                          timeout=PATIENCE_S)


def test_retry_tries_failed_trials_and_their_parents_again(places: Path) -> None:
    settings = {**TOY, "recipe": "lp_ft", "train.epochs": 2}
    file = write_search(places.parent, set=settings, searcher="grid",
                        space={"optim.lr": {"choice": [1e30, 2e30]}})
    failed = launch("tune", file)
    assert failed.returncode == 1 and "no trial of search toy-search has a score" in failed.stdout
    assert all(trial["state"] == "failed" and trial["error"] for trial in trials(places))
    again = launch("tune", file, "--retry")  # tried again, and fails again
    assert again.returncode == 1 and again.stdout.count("failed: trial") == 2


def test_a_disk_that_fills_up_ends_the_search_in_one_line_and_it_goes_on_when_there_is_room(
    small_disk: Path, places: Path, start: Start  # noqa: F811
) -> None:
    file = write_search(places.parent, set={**TOY, "recipe": "scratch", "train.epochs": 10},
                        budget={"trials": 4}, scheduler={"name": "none"})
    home = {"FER_HOME": str(small_disk / "home")}
    driver = start("tune", file, "--slots", 1, **home)
    wait_until(lambda: epochs(small_disk / "home") > 2)
    fill(small_disk)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 2, output
    assert "No space left" in output and "Traceback" not in output, output
    assert not left_behind(driver.pid)
    (small_disk / "filler").unlink()
    done = launch("tune", file, "--slots", 1, "--retry", **home)
    assert done.returncode == 0, done.stdout + done.stderr
    found = trials(small_disk / "home")
    assert [(trial["state"], len(trial["curve"])) for trial in found] == [("done", 10)] * 4


def test_halves_of_two_gpus_are_four_trials_at_a_time(places: Path, start: Start) -> None:
    """GPUs by name only: Ray counts them, and the trials train on the processor."""
    settings = {**TOY, "recipe": "scratch", "train.epochs": 30, "compute.device": "auto"}
    file = write_search(places.parent, set=settings, scheduler={"name": "none"},
                        resources={"gpus": 0.5}, budget={"trials": 6})
    driver = start("tune", file, CUDA_VISIBLE_DEVICES="0,1", PYTHONPATH=INJECT,
                   FER_INJECT="slow:0.5")  # so that none has ended when the last one begins
    most = 0

    def four_have_trained() -> bool:
        nonlocal most
        running = [path for path in places.glob("runs/*/status.json")
                   if json.loads(path.read_text())["state"] == "running"]
        most = max(most, len(running))
        return most >= 4 or driver.poll() is not None

    wait_until(four_have_trained)
    os.killpg(driver.pid, signal.SIGTERM)
    driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130 and most == 4
    more = launch("tune", file, "resources.gpus=2", CUDA_VISIBLE_DEVICES="0,1")
    assert more.returncode == 2 and "with several processes needs its own SLURM job" in more.stderr
