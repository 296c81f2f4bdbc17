"""The lease: one owner at a time, between real processes; a dead owner is noticed at once."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fer.study.lease import Lease, LeaseLost, LeaseTaken, Owner

HOLD = """
import sys, time
from pathlib import Path
from fer.study.lease import Lease
Lease(Path(sys.argv[1])).take()
print("taken", flush=True)
time.sleep(60)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None and process.stdout.readline() == "taken\n"
    return process


def test_a_live_process_keeps_its_lease(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    try:
        with pytest.raises(LeaseTaken, match=str(process.pid)):
            Lease(tmp_path / "lease").take()
    finally:
        process.kill()
        process.wait()


def test_a_stopped_process_keeps_its_lease_because_no_clock_is_asked(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    try:
        process.send_signal(signal.SIGSTOP)
        os.utime(tmp_path / "lease", (0, 0))
        assert Lease(tmp_path / "lease").held()
    finally:
        process.kill()
        process.wait()


def test_the_lease_of_a_killed_process_can_be_taken_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    process.kill()
    process.wait()
    Lease(tmp_path / "lease").take()
    assert Lease(tmp_path / "lease").owner() == Owner.myself()


def test_a_killed_process_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    process = holder(tmp_path / "lease")
    process.kill()
    deadline = time.monotonic() + 5
    while Lease(tmp_path / "lease").held():  # a zombie until its parent waits
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()


def test_a_process_with_a_reused_pid_is_not_the_owner(tmp_path: Path) -> None:
    assert not replace(Owner.myself(), started="1").alive()


def test_an_owner_from_before_a_reboot_is_dead() -> None:
    assert not replace(Owner.myself(), boot="another").alive()


def test_an_owner_on_another_host_counts_as_alive() -> None:
    assert replace(Owner.myself(), host="elsewhere").alive()


def test_an_owner_that_was_taken_over_is_told_before_it_publishes(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease")
    lease.take()
    other = holder(tmp_path / "other")
    (tmp_path / "lease").write_text((tmp_path / "other").read_text())
    with pytest.raises(LeaseLost):
        lease.check()
    other.kill()
    other.wait()


@pytest.mark.parametrize("content", ["", "{", "nonsense", '{"host": "x"}'])
def test_a_lease_file_cut_short_by_a_crash_is_free(content: str, tmp_path: Path) -> None:
    (tmp_path / "lease").write_text(content)
    Lease(tmp_path / "lease").take()
    assert Lease(tmp_path / "lease").held()


def _race(path: Path, gate: "multiprocessing.synchronize.Barrier", won: "multiprocessing.Queue[int]"
          ) -> None:
    gate.wait()
    try:
        Lease(path).take()
        won.put(os.getpid())
    except LeaseTaken:
        pass
    gate.wait()  # winners stay alive until all have tried


@pytest.mark.slow
def test_of_many_processes_that_find_a_dead_owner_one_takes_over(tmp_path: Path) -> None:
    dead = holder(tmp_path / "lease")
    dead.kill()
    dead.wait()
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        gate, won = context.Barrier(8), context.Queue()
        racers = [context.Process(target=_race, args=(tmp_path / "lease", gate, won))
                  for _ in range(8)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        winners = {won.get(timeout=5)}
        time.sleep(0.05)
        assert won.empty() and len(winners) == 1
