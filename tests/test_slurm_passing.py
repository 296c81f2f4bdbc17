"""A SLURM that answers some calls with an error, on real daemons, and how often it is asked."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from slurm_cluster import TestCluster, brought_up
from test_slurm_dispatch import short
from test_slurm_faults import long_study

from fer.study import slurm_poll
from fer.study.slurm_client import ask, is_passing
from fer.study.slurm_jobs import Job, Jobs
from fer.study.slurm_poll import LONGEST_S, QueuePoll, shared_queue

Write = Callable[..., Path]
COMMANDS = ("squeue", "sacct", "scontrol", "sinfo", "sbatch", "scancel")
TIMED_OUT = "slurm_load_jobs error: Socket timed out on send/recv operation"


@pytest.fixture
def cluster(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster of slow runs whose commands are counted."""
    with brought_up(tmp_path, toy_data, "slow:0.25") as made:
        yield made
        shutil.rmtree(made.root / "bin", ignore_errors=True)


def count_calls(cluster: TestCluster, every: int = 0) -> Path:
    """Put commands of SLURM first in the PATH that note their calls; returns the log.

    Args:
        every: one in so many calls of each command fails as if the controller was busy.
    """
    log = cluster.root / "calls.log"
    (cluster.root / "bin").mkdir(exist_ok=True)
    for name in COMMANDS:
        fail = (f'[ $(( $(grep -c "^{name}$" {log}) % {every} )) -ne 0 ] || '
                f'{{ echo "{TIMED_OUT}" >&2; exit 1; }}\n' if every else "")
        file = cluster.root / "bin" / name
        file.write_text(f'#!/bin/bash\necho {name} >> {log}\n{fail}'
                        f'exec {shutil.which(name)} "$@"\n')
        file.chmod(0o755)
    return log


@pytest.mark.slow
@pytest.mark.slurm
def test_with_every_second_call_failing_a_study_ends_and_a_lost_run_comes_back(
    cluster: TestCluster, toy_study: Write
) -> None:
    log = count_calls(cluster, every=2)
    sweep = cluster.start("sweep", long_study(toy_study), "--cluster", "test")
    cluster.wait_for_step(4)
    for process in batch_processes(cluster):  # with its shell: nobody says how it ended
        process.kill()
    output, _ = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, output + cluster.logs()
    assert cluster.states() == ["done"]
    calls = Counter(log.read_text().split())
    assert calls["sbatch"] >= 4  # two submissions with a report each, each call of them twice


def batch_processes(cluster: TestCluster) -> list[psutil.Process]:
    """Return the batch scripts of a cluster, and all that they started."""
    found = [process for process in psutil.process_iter(["cmdline"])
             if any(str(cluster.folder / "spool") in word for word in process.info["cmdline"] or ())
             and "slurm_script" in " ".join(process.info["cmdline"])]
    return [one for process in found for one in [*process.children(recursive=True), process]]


@pytest.mark.slurm
@pytest.mark.slow
def test_a_follower_and_a_watcher_each_ask_four_times_a_minute_while_nothing_changes(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(environment={"FER_INJECT": "slow:4"})
    log = count_calls(cluster)
    sweep = cluster.start("sweep", long_study(toy_study), "--cluster", "test")
    cluster.wait_for_step(1)
    watch = cluster.start("status", "toy", "--watch")
    time.sleep(75)
    before = len(log.read_text().split())
    time.sleep(60)
    calls = len(log.read_text().split()) - before
    assert cluster.states() == ["running"], cluster.logs()
    os.killpg(sweep.pid, 2)
    watch.kill()
    watch.communicate()
    sweep.communicate(timeout=60)
    assert 0 < calls <= 8


@pytest.mark.slurm
def test_a_slurm_that_stays_away_is_no_mistake_of_the_caller(
    cluster: TestCluster, toy_study: Write
) -> None:
    count_calls(cluster, every=1)
    done = cluster.launch("sweep", toy_study({"seed": [0]}, set=short({"seed": [0]})),
                          "--cluster", "test")
    assert done.returncode == 1 and "the same command continues later" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("message", "passing"), [
    (TIMED_OUT, True),
    ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", True),
    ("squeue: error: slurm_receive_msg: Zero Bytes were transmitted or received", True),
    ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True),
    ("sbatch: error: Batch job submission failed: Invalid account or account/partition", False),
    ("sbatch: error: invalid partition specified: gpus", False),
    ("sbatch: error: Batch job submission failed: Requested node configuration is not available",
     False),
])
def test_an_error_that_passes_is_told_from_one_that_stays(message: str, passing: bool) -> None:
    assert is_passing(message) == passing


def test_a_call_is_repeated_after_a_passing_error_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(message: str, until: int) -> int:
        log, tool = tmp_path / "log", tmp_path / "tool"
        log.write_text("")
        tool.write_text(f'#!/bin/bash\necho x >> {log}\n[ $(wc -l < {log}) -gt {until} ] && '
                        f'echo yes && exit 0\necho "{message}" >&2; exit 1\n')
        tool.chmod(0o755)
        monkeypatch.setattr("fer.study.slurm_client.RETRY_S", (0.0, 0.0))
        answer = ask([str(tool)])
        assert answer == ("yes\n" if len(log.read_text().split()) > until else None)
        return len(log.read_text().split())

    assert times(TIMED_OUT, until=2) == 3
    assert times(TIMED_OUT, until=9) == 3
    assert times("Invalid user", until=9) == 1
    assert times("", until=0) == 1


def test_the_queue_is_read_less_and_less_while_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = [0.0], []

    def reading() -> Jobs:
        read.append(clock[0])
        return Jobs(answered=len(read) != 3, cluster="c")

    monkeypatch.setattr(slurm_poll.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(slurm_poll, "read_queue", reading)
    poll = QueuePoll(tmp_path)
    for second in range(600):
        clock[0] = float(second)
        assert poll.queue().known.answered  # a reading without an answer changes nothing
    pauses = [later - before for before, later in pairwise(read)]
    assert pauses == sorted(pauses) and pauses[-1] == LONGEST_S
    assert sum(time > 540 for time in read) == 2
    poll.soon()
    for _ in range(5):
        clock[0] += 1
        poll.queue()
    assert read[-1] == clock[0] and read[-2] < clock[0] - 5
    poll.now()
    poll.queue()
    assert read[-2:] == [clock[0]] * 2


def test_processes_that_share_a_file_read_the_queue_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Jobs] = []

    def reading() -> Jobs:
        read.append(Jobs({"7_1": Job("7_1", "RUNNING", comment="fer:1", restarts=2)},
                         cluster="c", accounting=True))
        return read[-1]

    monkeypatch.setattr(slurm_poll, "read_queue", reading)
    file = tmp_path / "queue.json"
    assert [shared_queue(file) for _ in range(3)] == read * 3 and len(read) == 1
    file.write_text(file.read_text().replace('"time": ', '"time": -'))
    shared_queue(file)
    file.write_text("{")
    shared_queue(file)
    assert len(read) == 3
