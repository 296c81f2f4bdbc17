"""Processes that decode and draw pictures end with the process that started them."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import REPOSITORY

from fer.data.process_map import map_in_processes

PARENT = """
import os, time
from fer.data.process_map import ProcessPool
if __name__ == "__main__":
    with ProcessPool(2) as pool:
        waits = [pool.submit(time.sleep, 0.5) for _ in range(2)]
        print(*{pool.submit(os.getpid).result() for _ in range(20)}, *pool._processes, flush=True)
        time.sleep(600)
"""


@pytest.mark.real_python
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_of_a_pool_end_with_their_parent_however_it_ends(
    number: signal.Signals, tmp_path: object
) -> None:
    script = f"{tmp_path}/parent.py"
    with open(script, "w") as file:
        file.write(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) as parent:
        assert parent.stdout is not None
        pids = {int(word) for word in parent.stdout.readline().split()}
        assert len(pids) == 2
        parent.send_signal(number)
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(map_in_processes(abs, range(-9, 0), 2)) == list(range(9, 0, -1))
