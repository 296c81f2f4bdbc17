"""Searches on a real SLURM: one node, two nodes, trials as jobs; preempted, and without a node."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TOY
from slurm_cluster import TestCluster, brought_up, wait_until
from test_search import facts, trials, write_search

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.real_python]  # for Ray
SLOW = "slow:0.1"
PATIENCE_S = 800.0


@pytest.fixture
def cluster(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster of two nodes that warns jobs before it preempts them; its steps are slow."""
    with brought_up(tmp_path, toy_data, SLOW) as made:
        yield made


def record(cluster: TestCluster) -> list[dict[str, Any]]:
    """Return the trials on record; none before there is one."""
    try:
        return trials(cluster.home)
    except FileNotFoundError:
        return []


def ended(cluster: TestCluster, count: int) -> Callable[[], bool]:
    """Return what says whether the search has ended and its best configuration is there."""
    return lambda: (len(record(cluster)) == count
                    and all(trial["state"] in ("done", "stopped") for trial in record(cluster))
                    and (cluster.home / "studies/toy-search/best.json").is_file())


def said(cluster: TestCluster) -> str:
    """Return what helps where a test waits in vain."""
    return f"{record(cluster)}\n{cluster.logs()}"


def preempt(cluster: TestCluster) -> None:
    """Preempt the job of the search and wait until it is requeued."""
    cluster.preempt()
    wait_until(lambda: cluster.restarts("fer-toy-search")[:1] == [1], PATIENCE_S,
               lambda: said(cluster))


def submit(cluster: TestCluster, file: Path, *arguments: object) -> str:
    """Submit a search; returns what was printed."""
    done = cluster.launch("tune", file, "--cluster", "test", *arguments, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    return done.stdout


@pytest.mark.timeout(1800)
def test_a_search_in_one_job_is_preempted_requeued_and_ends_with_all_its_trials(
    cluster: TestCluster, tmp_path: Path
) -> None:
    file = write_search(tmp_path, budget={"trials": 4}, scheduler={"name": "none"},
                        finalists={"best": 1, "seeds": [0, 1]})
    refused = refusal(cluster, file, "resources.slots=3", "set.compute.device=auto")
    assert "3 × 1 on one node" in refused and "has 2" in refused
    assert "is job" in submit(cluster, file)
    assert "already" in submit(cluster, file)  # the same command again submits nothing
    wait_until(lambda: sum(len(trial["curve"]) for trial in record(cluster)) >= 2, PATIENCE_S,
               lambda: said(cluster))
    preempt(cluster)
    wait_until(ended(cluster, 6), PATIENCE_S,
               lambda: said(cluster))
    assert [trial["number"] for trial in record(cluster)][:4] == list(range(4))
    assert all(len(trial["curve"]) == 3 for trial in record(cluster))
    wait_until(lambda: not cluster.command("squeue", "--noheader"), PATIENCE_S,
               lambda: said(cluster))
    before = facts(cluster.home)
    done = cluster.launch("tune", file, "--cluster", "local", "--slots", 1)
    assert done.returncode == 0, done.stdout + done.stderr  # the same search: nothing is left
    assert facts(cluster.home) == before


@pytest.mark.timeout(1800)
def test_a_search_longer_than_its_time_limit_goes_on_in_the_next_job(
    cluster: TestCluster, tmp_path: Path
) -> None:
    file = write_search(tmp_path, set={**TOY, "recipe": "scratch", "train.epochs": 6},
                        budget={"trials": 2}, scheduler={"name": "none"},
                        resources={"slots": 1, "time": "1:00"})
    # 65 s of steps, and a warning 25 s before the end: a machine that takes 30 s to start gets on
    cluster.write_profile(signal_delay=25, environment={"FER_INJECT": "slow:0.9"})
    submit(cluster, file)
    wait_until(lambda: cluster.restarts("fer-toy-search")[:1] >= [1], PATIENCE_S,
               lambda: said(cluster))
    (job,) = cluster.jobs()
    cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=10")  # for slow machines: once
    wait_until(ended(cluster, 2), PATIENCE_S, lambda: said(cluster))
    assert [(trial["number"], trial["state"], len(trial["curve"])) for trial in record(cluster)] \
        == [(number, "done", 6) for number in range(2)]
    assert "search interrupted" in cluster.logs()


@pytest.mark.timeout(1800)
def test_a_search_over_two_nodes_is_preempted_goes_on_and_has_trials_on_both_and_a_private_token(
    cluster: TestCluster, tmp_path: Path
) -> None:
    file = write_search(tmp_path, budget={"trials": 6}, scheduler={"name": "none"},
                        resources={"job_nodes": 2, "slots": 1})
    submit(cluster, file)
    wait_until(lambda: any(trial["curve"] for trial in record(cluster)), PATIENCE_S,
               lambda: said(cluster))
    preempt(cluster)
    wait_until(ended(cluster, 6), PATIENCE_S,
               lambda: said(cluster))
    assert {trial["where"] for trial in record(cluster)} == {"n1", "n2"}
    assert [(trial["number"], len(trial["curve"])) for trial in record(cluster)] == [
        (number, 3) for number in range(6)]
    (token,) = cluster.home.glob("studies/toy-search/slurm/*/token")
    assert token.stat().st_mode & 0o077 == 0 and len(token.read_text()) == 64
    script = next(cluster.home.glob("studies/toy-search/slurm/*/script.sh")).read_text()
    assert "--exclusive" in script and token.read_text() not in script
    wait_until(lambda: not cluster.command("squeue", "--noheader"), PATIENCE_S,
               lambda: said(cluster))
    states = {job["JobState"] for job in cluster.jobs().values()}
    assert states == {"COMPLETED"}, cluster.logs()


@pytest.mark.timeout(1800)
def test_a_ray_that_dies_on_one_of_two_nodes_takes_no_trial_with_it(
    cluster: TestCluster, tmp_path: Path
) -> None:
    file = write_search(tmp_path, set={**TOY, "recipe": "scratch", "train.epochs": 6},
                        budget={"trials": 4}, scheduler={"name": "none"},
                        resources={"job_nodes": 2, "slots": 2})
    cluster.write_profile(environment={"FER_INJECT": "slow:0.8"})  # trials of half a minute
    submit(cluster, file)
    wait_until(lambda: "n2" in {trial["where"] for trial in record(cluster) if trial["curve"]
                                and trial["state"] == "running"}, PATIENCE_S,
               lambda: said(cluster))
    (raylet,) = [process for process in psutil.process_iter() if process.name() == "raylet"
                 and process.environ().get("SLURMD_NODENAME") == "n2"
                 and process.environ().get("SLURM_CONF") == cluster.env["SLURM_CONF"]]
    raylet.kill()
    wait_until(ended(cluster, 4), PATIENCE_S, lambda: said(cluster))
    assert [(trial["number"], trial["state"], len(trial["curve"])) for trial in record(cluster)] \
        == [(number, "done", 6) for number in range(4)]
    assert "Ray on this node ended" in cluster.logs()
    assert cluster.restarts("fer-toy-search") == [0]


@pytest.mark.timeout(1800)
def test_a_search_whose_node_is_lost_goes_on_on_another_and_the_lost_driver_is_fenced_off(
    cluster: TestCluster, tmp_path: Path
) -> None:
    file = write_search(tmp_path, set={**TOY, "recipe": "scratch", "train.epochs": 6},
                        budget={"trials": 2}, scheduler={"name": "none"}, resources={"slots": 1})
    cluster.write_profile(environment={"FER_INJECT": "slow:0.8"})  # longer than SLURM needs
    submit(cluster, file)
    wait_until(lambda: any(trial["curve"] for trial in record(cluster)), PATIENCE_S,
               lambda: said(cluster))
    (node,) = {job["BatchHost"] for job in cluster.jobs().values() if "BatchHost" in job}
    cluster.end(f"slurmd-{node}")  # the driver and its Ray go on there, out of SLURM's sight
    wait_until(lambda: cluster.restarts("fer-toy-search") == [1], PATIENCE_S,
               lambda: said(cluster))
    wait_until(ended(cluster, 2), PATIENCE_S, lambda: said(cluster))
    assert [(trial["number"], trial["state"], len(trial["curve"])) for trial in record(cluster)] \
        == [(number, "done", 6) for number in range(2)]
    (other,) = {"n1", "n2"} - {node}
    assert record(cluster)[-1]["where"] == other
    cluster.bring_up()


@pytest.mark.timeout(1800)
def test_trials_of_two_ranks_are_jobs_of_their_own_and_one_that_is_killed_goes_on(
    cluster: TestCluster, tmp_path: Path
) -> None:
    settings = {**TOY, "recipe": "scratch", "train.epochs": 4}
    file = write_search(tmp_path, set=settings, budget={"trials": 3},
                        scheduler={"name": "asha", "grace": 1, "reduction": 3},
                        resources={"gpus": 2, "slots": 2})
    assert "resources.gpus: 4 on one node" in refusal(cluster, file, "resources.gpus=4")
    assert "a job needs 3 nodes" in refusal(cluster, file, "resources.nodes=3")
    search = cluster.start("tune", file, "--cluster", "test")
    wait_until(lambda: any(trial["curve"] for trial in record(cluster)) and ranks(cluster),
               PATIENCE_S, lambda: said(cluster))
    victim = ranks(cluster)[0]
    job = victim.environ()["SLURM_JOB_ID"]
    victim.kill()
    output, _ = search.communicate(timeout=PATIENCE_S)
    assert search.returncode == 0, output + said(cluster)
    assert ended(cluster, 3)(), said(cluster)
    by_state = {state: [trial for trial in record(cluster) if trial["state"] == state]
                for state in ("done", "stopped")}
    assert by_state["done"]
    for trial in by_state["stopped"]:  # and its job did not go on with it
        status = json.loads((cluster.home / "runs" / trial["run"] / "status.json").read_text())
        assert status["state"] == "stopped" and status["epoch"] < 4
    for trial in by_state["done"]:
        run = cluster.home / "runs" / trial["run"]
        assert json.loads((run / "env.json").read_text())["world_size"] == 2
        assert len(trial["curve"]) == 4
    wait_until(lambda: not cluster.command("squeue", "--noheader"), PATIENCE_S,
               lambda: said(cluster))
    assert not list(cluster.home.glob("runs/*/stop"))  # who trains one on is not stopped again
    jobs = cluster.jobs()
    assert [one["JobName"] for one in jobs.values()].count("fer-toy-search") == 3
    assert {key: one["Restarts"] for key, one in jobs.items()} == {
        key: "1" if key == job else "0" for key in jobs}, cluster.logs()
    again = time.monotonic()
    submit(cluster, file)  # everything is there: no job more
    assert time.monotonic() - again < 60
    assert len(cluster.jobs()) == len(jobs)


def ranks(cluster: TestCluster) -> list[psutil.Process]:
    """Return the second ranks of the jobs of this cluster that train."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if "fer.cluster.worker" in process.cmdline() and str(cluster.home) in " ".join(
                    process.cmdline()) and process.environ().get("SLURM_PROCID") == "1":
                found.append(process)
    return found


def refusal(cluster: TestCluster, file: Path, *arguments: str) -> str:
    """Have a search refused before anything is submitted; returns the one line."""
    done = cluster.launch("tune", file, "--cluster", "test", *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert not cluster.jobs()
    return done.stderr
