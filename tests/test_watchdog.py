"""Processes that hang: noticed, written down, restarted once."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import TestCluster, brought_up
from test_resume import numbers
from test_slurm_faults import calm, long_study  # noqa: F401 - a fixture

from fer.study.failure import HUNG, hangs, mark_hung, marked_hung
from fer.study.run_folder import RunFolder
from fer.study.run_records import Status
from fer.train import watchdog
from fer.train.watchdog import FACTOR, START_FACTOR, Watchdog

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFolder]:
    monkeypatch.setattr(watchdog.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("FER_START", "7_0.0")
    made = RunFolder(tmp_path / "run")
    made.path.mkdir()
    made.write_status(Status(state="running"))
    yield made


def watching(folder: RunFolder, floor: float = 600.0) -> tuple[Watchdog, list[int]]:
    """Return a watchdog whose process does not end, and the exit codes it wanted."""
    codes: list[int] = []
    dog = Watchdog(lambda: False, [folder], floor, codes.append)
    dog._write_stacks = lambda why: None  # type: ignore[method-assign]
    return dog, codes


@pytest.mark.parametrize(("pauses", "allowed"), [
    ([], 600 * START_FACTOR), ([3000], 600), ([3000, 2, 5, 1], 600), ([1, 100], FACTOR * 100),
    ([1, 40, 0.1], FACTOR * 40)])
def test_what_is_too_long_is_learned_from_the_run_s_own_pauses(
    pauses: list[float], allowed: float, folder: RunFolder
) -> None:
    dog, codes = watching(folder)
    dog.check()
    for pause in pauses:  # the first is the one before the first step
        dog.age = pause
        assert not dog.check()
        dog()
    assert dog.allowed == allowed
    dog.age = allowed
    assert not dog.check() and not codes
    dog.age += 1
    assert dog.check() and codes == [HUNG]
    assert marked_hung(folder) and "no step for" in hangs(folder)[0]


def test_the_next_run_of_a_job_may_take_as_long_to_begin(tmp_path: Path, folder: RunFolder) -> None:
    dog, codes = watching(folder)
    second = RunFolder(tmp_path / "second")
    second.path.mkdir()
    dog._folders = [folder, second]
    dog.check()
    dog()
    folder.write_status(Status(state="done"))
    dog.age = 600 * START_FACTOR
    assert not dog.check() and not codes


def test_all_ranks_of_a_start_that_hangs_write_their_stacks(folder: RunFolder) -> None:
    dog, codes = watching(folder)
    dog.check()
    dog()
    assert not dog.check()
    mark_hung(folder, "no step for 700 s")
    assert dog.check() and codes == [HUNG] and hangs(folder) == ["no step for 700 s"]


def test_a_stop_that_is_not_noticed_ends_the_process(folder: RunFolder) -> None:
    dog, codes = watching(folder)
    dog.check()
    dog()
    (folder.path / "cancel").touch()
    dog.age = watchdog.CANCEL_S
    assert not dog.check()
    dog.age += 1
    assert dog.check() and codes == [HUNG]


def test_a_retry_forgets_earlier_hangs(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_hung(folder, "one")
    monkeypatch.setenv("FER_START", "7_0.1")
    mark_hung(folder, "two")
    assert hangs(folder) == ["one", "two"]
    folder.write_status(Status(state="failed"))
    folder.reopen()
    assert hangs(folder) == []


def test_stacks_of_all_threads_are_written(capfd: pytest.CaptureFixture[str],
                                           folder: RunFolder) -> None:
    Watchdog(lambda: False, [folder], 600)._write_stacks("no step for 9 s")
    err = capfd.readouterr().err
    assert "rank 0: no step for 9 s" in err and "test_stacks_of_all_threads" in err


def test_without_a_limit_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_HANG_S", "0")
    stop = io.StringIO().readable
    assert watchdog.watched(stop, []) is stop


@pytest.mark.slow
@pytest.mark.slurm
def test_a_rank_that_hangs_is_written_down_and_its_job_goes_on(
    tmp_path: Path, toy_data: Path, toy_study: Write, calm: dict[str, bytes]  # noqa: F811
) -> None:
    with brought_up(tmp_path, toy_data) as cluster:
        hanging(cluster, "hang:0:9")
        cluster.submit(long_study(toy_study))
        cluster.wait_for_state("done", "failed", "cancelled", patience=240)
        (run,) = cluster.runs()
        assert cluster.states() == ["done"], cluster.logs()
        assert numbers(run) == calm
        assert cluster.restarts() == [1]
        assert "hung: rank 0: no step for" in cluster.logs()
        assert "in batch" in cluster.logs()  # where it waits


@pytest.mark.slurm
@pytest.mark.slow
def test_ranks_that_hang_twice_fail_with_the_stacks_of_all(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data) as cluster:
        hanging(cluster, "hang:1:9:always")
        cluster.submit(long_study(toy_study, resources={"gpus": 2}))
        (row,) = cluster.wait_for_state("done", "failed", "cancelled", patience=300)
        assert row["state"] == "failed" and str(row["error"]).startswith("hung: no step for")
        assert cluster.restarts() == [1]
        for rank in (0, 1):
            assert cluster.logs().count(f"hung: rank {rank}:") == 2


def hanging(cluster: TestCluster, fault: str) -> None:
    """Let jobs hang, and notice it within seconds of the machine's own pace."""
    cluster.inject = fault
    floor = 10 if os.environ.get("PYTEST_XDIST_WORKER") else 5
    cluster.write_profile(environment={"FER_INJECT": f"{fault} plain"}, hang_minutes=floor / 60)
