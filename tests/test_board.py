"""TensorBoard of a study: on loopback, over every run, ended with the command that started it."""

import json
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TOY, launch
from test_mistakes import said_in_one_line
from test_resume import Start

from fer.commands.board import lines

Write = Callable[..., Path]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def study(places: Path, toy_study: Write) -> Path:
    """A finished study of one run with events."""
    file = toy_study({"seed": [0]}, set={**TOY, "train.epochs": 1})
    assert launch("sweep", file).returncode == 0
    return file


def test_it_serves_the_runs_on_loopback_and_nothing_is_left_when_it_ends(
    study: Path, start: Start
) -> None:
    import psutil

    port = free_port()
    process = start("board", "toy", "--port", port, SSH_CONNECTION="a 1 b 22")
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(2)]
    assert f"http://127.0.0.1:{port}/" in said[0]
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in said[1]
    children = psutil.Process(process.pid).children(recursive=True)
    listening = {c.laddr.ip for child in [*children, psutil.Process(process.pid)]
                 for c in child.net_connections("inet") if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    deadline = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs") as answer:
            runs = json.loads(answer.read())
        if any("resmasking_tiny" in run for run in runs):
            break
        assert time.monotonic() < deadline, runs
        time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    assert not [child for child in children if child.is_running()
                and child.status() != psutil.STATUS_ZOMBIE]


def test_a_taken_port_is_one_line(study: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said_in_one_line(launch("board", "toy", "--port", port), str(port), "in use")


def test_away_from_ssh_no_tunnel_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert len(lines(6006)) == 1


def test_a_sweep_serves_it_meanwhile(places: Path, toy_study: Write) -> None:
    done: subprocess.CompletedProcess[str] = launch(
        "sweep", toy_study({"seed": [0]}, set={**TOY, "train.epochs": 1}), "--tensorboard")
    assert done.returncode == 0 and "TensorBoard: http://127.0.0.1:" in done.stdout
