"""A study on this machine that is ended from outside, or cannot work: real commands and jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from conftest import REPOSITORY, launch, toy_arguments
from test_mistakes import said_in_one_line
from test_resume import Start, numbers

Write = Callable[..., Path]
GRID = {"train_on": ["lfw"], "seed": [0, 1]}


def injected(fault: str) -> dict[str, str]:
    """Return the environment of processes with a fault (`tests/inject`)."""
    return {"FER_INJECT": fault, "PYTHONPATH": f"{REPOSITORY / 'tests/inject'}:{REPOSITORY}"}


def command(script: str, *arguments: object, fault: str) -> subprocess.CompletedProcess[str]:
    """Run a script of `launch/` with a fault in a process of its own."""
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "launch" / f"{script}.py"), *map(str, arguments)],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=600,
        env={**os.environ, **injected(fault)})


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def alive_in(home: Path) -> list[int]:
    """Return the processes that work in this FER_HOME."""
    found = []
    for process in psutil.process_iter():
        try:
            if (process.environ().get("FER_HOME") == str(home) and process.pid != os.getpid()
                    and process.status() != psutil.STATUS_ZOMBIE):
                found.append(process.pid)
        except psutil.Error:
            pass
    return found


def statuses(home: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in home.glob("runs/*/status.json")]


def works_beyond(home: Path, step: int) -> bool:
    return any(one["state"] == "running" and int(str(one["step"])) > step
               for one in statuses(home))


@pytest.mark.real_python
@pytest.mark.slow
def test_a_study_that_is_terminated_and_then_interrupted_gives_the_undisturbed_numbers(
    places: Path, toy_study: Write, start: Start, tmp_path: Path
) -> None:
    study = toy_study(GRID)
    steps = 0
    for number, whom in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
        process = start("sweep", study, "--slots", 2, **injected("slow:0.3"))
        wait_until(partial(works_beyond, places, steps + 1), process)
        whom(process.pid, number)  # Ctrl-C goes to all that the terminal has started
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 128 + number and "Traceback" not in out, out
        assert not alive_in(places)
        found = statuses(places)
        assert {one["state"] for one in found} <= {"preempted", "pending"}
        assert any(one["state"] == "preempted" and one["step"] > steps for one in found), found
        steps = max(int(one["step"]) for one in found)
    for home in (places, tmp_path / "calm"):
        done = launch("sweep", study, FER_HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr
    assert any(int(str(one["first_step"])) > 1 for one in statuses(places))  # and none anew
    for run in places.glob("runs/*"):
        assert numbers(run) == numbers(tmp_path / "calm/runs" / run.name)


@pytest.mark.slow
def test_a_job_that_cannot_load_torch_is_said_with_its_traceback(
    places: Path, toy_study: Write
) -> None:
    """`ulimit -v 2500000`."""
    done = command("sweep", toy_study({**GRID, "seed": [0]}), fault="memory:2500000000")
    assert done.returncode == 1
    assert "before the run began, 3 times" in done.stdout and "Traceback" in done.stdout
    assert "1 of 1 run is missing" in done.stdout


@pytest.mark.slow
def test_a_job_on_a_disk_without_locks_fails_with_its_traceback_and_is_not_started_for_ever(
    places: Path, toy_study: Write
) -> None:
    """Only the node's disk has none, so that the launcher does not notice."""
    done = command("sweep", toy_study({**GRID, "seed": [0]}), fault="unlocked:job")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no file locks" in done.stdout and "1 of 1 run is missing" in done.stdout
    assert [one["state"] for one in statuses(places)] == ["failed"]


@pytest.mark.parametrize("where", [
    "sweep", *(pytest.param(one, marks=pytest.mark.slow)
               for one in ("train", "sweep --cluster gpu_partition"))])
def test_a_disk_without_locks_is_one_line(where: str, places: Path, toy_study: Write) -> None:
    script, *options = where.split()
    arguments = ("configs/drawn.yaml", *toy_arguments()) if script == "train" else (
        toy_study(GRID), *options)
    done = command(script, *arguments, fault="unlocked:all")
    said_in_one_line(done, str(places), "no file locks", "flock", "FER_HOME")
    assert not list(places.glob("runs/*"))
