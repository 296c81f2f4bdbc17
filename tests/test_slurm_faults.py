"""What SLURM does to jobs, on real daemons: whatever happens, the run ends with its own numbers."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import launch, toy_arguments
from slurm_cluster import TestCluster, brought_up, wait_until
from test_resume import numbers

Write = Callable[..., Path]
LONG = {"train.epochs": 12, "schedule.name": "plateau", "keep.tensorboard": False}
GRID = {"train_on": ["lfw"], "seed": [0]}
SLOW = "slow:0.25"  # 72 steps in 18 seconds: time to be disturbed in

pytestmark = pytest.mark.slurm


def long_study(toy_study: Write, **more: object) -> Path:
    """Write a study of one run that takes some time."""
    from conftest import TOY

    return toy_study(GRID, set={**{k: v for k, v in TOY.items() if k not in GRID}, **LONG}, **more)


@pytest.fixture(scope="session")
def calm(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The numbers of the long run when nothing disturbs it, on this machine."""
    home = tmp_path_factory.mktemp("calm")
    arguments = toy_arguments(**{key.replace(".", "__"): value for key, value in LONG.items()})
    done = launch("train", "configs/drawn.yaml", *arguments, "evaluate_on=[lfw/eval, real/test]",
                  FER_DATA=str(toy_data), FER_HOME=str(home), FER_CACHE=str(home / "cache"))
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (home / "runs").iterdir()
    return numbers(run)


@pytest.fixture
def noticed(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster that warns a job before it is preempted and grants it time, with slow runs."""
    with brought_up(tmp_path, toy_data, SLOW) as cluster:
        yield cluster


@pytest.fixture
def plain(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster that preempts as most do: SIGTERM, and soon SIGKILL."""
    with brought_up(tmp_path, toy_data, SLOW, warn=False) as cluster:
        yield cluster


def ends_with_its_own_numbers(cluster: TestCluster, calm: dict[str, bytes]) -> None:
    """Wait for the end of the one run and compare its numbers."""
    cluster.wait_for_state("done", "failed", "cancelled", patience=300)
    (run,) = cluster.runs()
    assert cluster.states() == ["done"], cluster.logs()
    assert numbers(run) == calm


def two_runs(toy_study: Write) -> Path:
    """Write a study of a run that is soon done and one that takes some time: one array."""
    from conftest import TOY

    grid = {**GRID, "train.epochs": [1, 12]}
    return toy_study(grid, set={key: value for key, value in {**TOY, **LONG}.items()
                                if key not in grid})


def done_and_working(cluster: TestCluster) -> None:
    """Wait until the short one of two runs is done and the other one has a few steps."""
    wait_until(lambda: sorted(cluster.states()) == ["done", "running"] and all(
        row["state"] == "done" or int(str(row["step"])) >= 8 for row in cluster.rows()),
        message=cluster.logs)


def long_run_has_its_own_numbers(cluster: TestCluster, calm: dict[str, bytes]) -> None:
    """Wait for both runs and compare the long one's numbers."""
    cluster.wait_for_state("done", "failed", "cancelled", patience=240)
    assert cluster.states() == ["done", "done"], cluster.logs()
    found = [numbers(run) for run in cluster.runs()]
    assert calm in found, cluster.logs()


@pytest.mark.slow
def test_a_preempted_task_of_an_array_disturbs_no_finished_one(
    noticed: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    noticed.submit(two_runs(toy_study))
    done_and_working(noticed)
    noticed.preempt()
    long_run_has_its_own_numbers(noticed, calm)
    assert sorted(noticed.restarts()) == [0, 1]


@pytest.mark.slow
def test_a_task_of_an_array_that_leaves_by_itself_requeues_no_finished_one(
    noticed: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    noticed.submit(two_runs(toy_study))
    done_and_working(noticed)

    def running() -> list[str]:
        tasks = noticed.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
        return tasks.split()

    wait_until(lambda: len(running()) == 1)
    noticed.command("scancel", "--signal=USR2", running()[0])  # the warning before a time limit
    long_run_has_its_own_numbers(noticed, calm)
    assert sorted(noticed.restarts()) == [0, 1]


@pytest.mark.parametrize("kind", [pytest.param("noticed", marks=pytest.mark.real_python),
                                  pytest.param("plain", marks=pytest.mark.slow)])
def test_a_preempted_run_is_requeued_once_and_ends_with_the_numbers_of_an_undisturbed_one(
    kind: str, request: pytest.FixtureRequest, toy_study: Write, calm: dict[str, bytes]
) -> None:
    cluster = request.getfixturevalue(kind)
    cluster.submit(long_study(toy_study))
    cluster.wait_for_step(10)
    cluster.preempt()
    (row,) = cluster.wait_for_state("requeued")
    assert "eligible" in str(row["note"]) and "BeginTime" in str(row["note"])
    ends_with_its_own_numbers(cluster, calm)
    assert cluster.restarts() == [1]
    assert "begins at step 0 " not in cluster.logs().split("begins at step")[-1]


@pytest.mark.slow
def test_a_run_longer_than_the_time_limit_goes_on_in_the_next_job(
    noticed: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    noticed.write_profile(time="1:00", signal_delay=25, environment={"FER_INJECT": "slow:0.9"})
    # 65 s of steps, a warning 25 s before the end: a machine that takes 30 s to start gets on too
    noticed.submit(long_study(toy_study))
    wait_until(lambda: noticed.restarts() and noticed.restarts()[0] >= 1, 150, noticed.logs)
    (job,) = (number for number, job in noticed.jobs().items() if job["JobName"] == "fer-toy")
    noticed.command("scontrol", "update", f"JobId={job}", "TimeLimit=10")  # for slow machines: once
    ends_with_its_own_numbers(noticed, calm)
    (run,) = noticed.runs()
    assert "save and exit requested" not in (run / "status.json").read_text()


@pytest.mark.real_python
@pytest.mark.slow
def test_loader_processes_that_are_alive_at_the_signal_do_not_requeue_too(
    noticed: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    noticed.write_profile(environment={"FER_INJECT": f"{SLOW} fork:2"})
    noticed.submit(long_study(toy_study))
    noticed.wait_for_step(8)
    noticed.preempt()
    noticed.wait_for_state("done", patience=180)
    assert noticed.restarts() == [1] and noticed.logs().count("requeueing job") == 1


@pytest.mark.slow
@pytest.mark.parametrize("accounting", [True, False], ids=["accounting", "no accounting"])
def test_scancel_of_a_running_and_of_a_waiting_job_is_said_and_stays(
    accounting: bool, tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    from conftest import TOY

    settings = {"accounting": True} if accounting else {}
    with brought_up(tmp_path, toy_data, SLOW, {"exclude": "n2"}, **settings) as cluster:
        cluster.write_profile(array_parallelism=1)
        study = toy_study({"train_on": ["lfw"], "seed": [0, 1]},
                          set={**{k: v for k, v in TOY.items() if k != "train_on"}, **LONG})
        cluster.submit(study)
        wait_until(lambda: sorted(cluster.states()) == ["queued", "running"], message=cluster.logs)
        wait_until(lambda: (cluster.runs()[0] / "checkpoints").is_dir()
                   or (cluster.runs()[1] / "checkpoints").is_dir())
        cluster.command("scancel", "--name=fer-toy")
        rows = cluster.wait_for_state("cancelled", patience=40)
        assert len(rows) == 2
        wait_until(lambda: list(cluster.home.glob("studies/toy/report/index.html")),
                   message=cluster.logs)
        assert cluster.states() == ["cancelled", "cancelled"]
        assert all(job["Restarts"] == "0" for job in cluster.jobs().values())


def processes(pattern: str) -> list[int]:
    """Return the ids of the processes whose command line fits."""
    done = subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.real_python
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank", "slurmstepd"])
def test_a_job_killed_without_notice_goes_on_from_its_last_checkpoint(
    victim: str, plain: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    if victim == "slurmstepd":  # srun notices after some ten seconds
        plain.write_profile(environment={"FER_INJECT": "slow:0.6"})
    plain.submit(long_study(toy_study))
    plain.wait_for_step(14)
    (run,) = plain.runs()
    if victim == "rank":
        import json

        pid = json.loads((run / "lease").read_text())["pid"]
    else:
        job = next(iter(plain.jobs()))
        (pid,) = [number for number in processes(rf"^slurmstepd: \[{job}\.0\]")
                  if belongs_to(number, plain)]
    os.kill(pid, signal.SIGKILL)
    ends_with_its_own_numbers(plain, calm)
    assert plain.restarts() == [1], plain.logs()


def belongs_to(pid: int, cluster: TestCluster) -> bool:
    """Whether a step daemon is one of this cluster's."""
    import psutil

    return any(str(cluster.folder) in file.path for file in psutil.Process(pid).open_files()) or (
        str(cluster.folder) in " ".join(psutil.Process(pid).environ().values()))


@pytest.mark.real_python
@pytest.mark.slow
def test_a_lost_node_costs_what_came_after_the_last_checkpoint_and_its_process_is_fenced_off(
    plain: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    plain.write_profile(environment={"FER_INJECT": "slow:0.8"})  # longer than SLURM needs to see it
    plain.submit(long_study(toy_study))
    plain.wait_for_step(8)
    (node,) = {job["BatchHost"] for job in plain.jobs().values() if "BatchHost" in job}
    plain.end(f"slurmd-{node}")  # its step daemons and the training go on, out of SLURM's sight
    wait_until(lambda: 1 in plain.restarts(), 90, plain.logs)
    plain.write_profile()
    rows = plain.wait_for_state("done", "failed", patience=180)
    assert {row["state"] for row in rows} == {"done"}, plain.logs()
    ends_with_its_own_numbers(plain, calm)
    plain.bring_up()


@pytest.mark.slow
def test_a_restarted_controller_disturbs_no_run_and_a_launcher_waits_for_it(
    plain: TestCluster, toy_study: Write, calm: dict[str, bytes]
) -> None:
    # without a controller each call is tried three times, of nine seconds each
    plain.write_profile(environment={"FER_INJECT": "slow:0.8"})
    process = plain.start("sweep", long_study(toy_study), "--cluster", "test")
    try:
        plain.wait_for_step(5)
        plain.end("slurmctld")
        assert plain.states() == ["running"]
        (run,) = plain.runs()
        before = run.stat().st_mtime_ns, (run / "status.json").read_text()
        wait_until(lambda: (run / "status.json").read_text() != before[1])
        plain.bring_up()
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0, out
        ends_with_its_own_numbers(plain, calm)
        assert plain.restarts() == [0]
    finally:
        process.kill()


@pytest.mark.real_python
def test_two_times_two_ranks_have_equal_weights_and_a_device_each_and_agree_with_one(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    import json

    import numpy as np
    from conftest import TOY

    weights = tmp_path / "weights"
    weights.mkdir()
    settings = {**{k: v for k, v in TOY.items() if k not in GRID}, "train.epochs": 2,
                "compute.batch_norm": "local", "compute.device": "auto", "keep.tensorboard": False,
                # ranks on CPUs cannot share statistics, so both sides use none
                "recipe": {"name": "frozen_statistics", "phases": [
                    {"name": "full", "train": "all", "batch_norm": "frozen"}]}}
    with brought_up(tmp_path, toy_data, f"weights:{weights}") as cluster:
        cluster.submit(toy_study(GRID, set=settings, resources={"nodes": 2, "gpus": 2}))
        cluster.wait_for_state("done", "failed", patience=180)
        assert cluster.states() == ["done"], cluster.logs()
        said = [(weights / str(rank)).read_text().split() for rank in range(4)]
        assert len({digest for digest, *_ in said}) == 1
        assert [local for _, _, local, _ in said] == ["0", "1", "0", "1"]
        assert {visible for *_, visible in said} == {"0,1"}  # SLURM's list, left as it is
        (run,) = cluster.runs()
        assert json.loads((run / "env.json").read_text())["world_size"] == 4
        four = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        cluster.write_profile("test")
        cluster.submit(toy_study(GRID, name="alone", set=settings))
        cluster.wait_for_state("done", "failed", study="alone")
        (other,) = [path for path in cluster.runs() if path != run]
        one = [json.loads(line) for line in (other / "metrics.jsonl").read_text().splitlines()]
    for key in ("train_loss", "val_loss"):
        np.testing.assert_allclose([line[key] for line in four], [line[key] for line in one],
                                   rtol=1e-4)


@pytest.mark.slow
def test_a_rank_that_raises_ends_the_job_at_once_and_shows_its_traceback(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, f"{SLOW} raise:2:5") as cluster:
        study = long_study(toy_study, resources={"nodes": 2, "gpus": 2})
        cluster.submit(study)
        wait_until(lambda: list(cluster.home.glob("runs/*/logs/failure-*.json")), 120, cluster.logs)
        cluster.wait_for_state("failed", patience=15)
        wait_until(lambda: not cluster.command("squeue", "--noheader", "--name=fer-toy"), 15)
        said = cluster.launch("status", "toy", "--failed")
        assert said.returncode == 1
        assert "injected: this rank raises (rank 2 on n2)" in said.stdout
        assert "Traceback" in said.stdout and "sitecustomize.py" in said.stdout
        assert cluster.restarts() == [0]


@pytest.mark.real_python
@pytest.mark.slow
def test_a_rank_of_several_that_is_killed_is_no_failure(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, SLOW) as cluster:
        cluster.submit(long_study(toy_study, resources={"nodes": 1, "gpus": 2}))
        cluster.wait_for_step(8)
        ranks = [number for number in processes(f"fer.cluster.worker.*{tmp_path.name}")
                 if b"SLURM_PROCID=1\0" in Path(f"/proc/{number}/environ").read_bytes()]
        os.kill(max(ranks), signal.SIGKILL)
        cluster.wait_for_state("done", "failed", patience=180)
        assert cluster.states() == ["done"] and cluster.restarts() == [1], cluster.logs()


@pytest.mark.slow
def test_a_run_that_never_comes_further_fails_instead_of_being_requeued_for_ever(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    fault = "exit:4:killed"  # a checkpoint comes after 6 steps
    with brought_up(tmp_path, toy_data, fault) as cluster:
        cluster.submit(long_study(toy_study))
        (row,) = cluster.wait_for_state("failed", patience=240)
        assert re.search("3 restarts in a row ended without a step after", str(row["error"]))
        (restarts,) = cluster.restarts()
        assert restarts == 4


@pytest.mark.slow
def test_a_run_whose_process_ends_itself_at_one_place_is_started_twice(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, "exit:4") as cluster:
        cluster.submit(long_study(toy_study))
        (row,) = cluster.wait_for_state("failed", patience=240)
        assert "ended with code 9 without an error message" in str(row["error"])
        assert cluster.restarts() == [1]


@pytest.mark.slow
def test_restarts_are_bounded_by_the_profile(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, "exit:9") as cluster:
        cluster.write_profile(max_restarts=1)
        cluster.submit(long_study(toy_study))
        (row,) = cluster.wait_for_state("failed", patience=120)
        assert "restarted 1 times" in str(row["error"]) and cluster.restarts() == [1]
