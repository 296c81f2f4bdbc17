"""Whose job is it: two clusters on one store, numbers that begin anew, two people. Real daemons."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import REPOSITORY, TOY
from slurm_cluster import TestCluster, brought_up, require_slurm, wait_until

Write = Callable[..., Path]
GRID = {"train_on": ["lfw"], "seed": [0, 1]}
HOLD = {"sbatch": {"hold": True}}

pytestmark = pytest.mark.slurm


def short(toy_study: Write, grid: dict[str, object] = GRID, name: str = "toy", epochs: int = 1
          ) -> Path:
    """Write a study of runs of one epoch, or some."""
    settings = {key: value for key, value in TOY.items() if key not in grid}
    return toy_study(grid, name=name, evaluate_on=["lfw/eval"], gap=None,
                     set={**settings, "train.epochs": epochs, "keep.tensorboard": False})


def pending(cluster: TestCluster) -> list[str]:
    """Return the ids of all jobs in the queue of a cluster but reports."""
    said = cluster.command("squeue", "--noheader", "--array", "--format=%i|%j")
    return sorted(line.split("|")[0] for line in said.splitlines() if "-report" not in line)


def submissions(cluster: TestCluster) -> list[dict[str, str]]:
    """Return what is noted of each array job."""
    files = sorted(cluster.home.glob("studies/*/slurm/[0-9][0-9][0-9]/job.json"))
    return [json.loads(file.read_text()) for file in files]


def written_by_old_code(cluster: TestCluster) -> None:
    """Leave of each submission what programs noted before clusters were: the bare number."""
    for file in cluster.home.glob("studies/*/slurm/*/job.json"):
        file.write_text(json.dumps({"job": json.loads(file.read_text())["job"]}))


@pytest.fixture
def cluster(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster whose jobs are held."""
    with brought_up(tmp_path, toy_data, profile=HOLD, new=True) as made:
        yield made


@pytest.fixture
def other(cluster: TestCluster) -> Iterator[TestCluster]:
    """Another cluster on the store of the first, whose numbers begin at 1 too."""
    with brought_up(cluster.root, cluster.data, profile=HOLD, new=True) as made:
        yield made


def test_what_one_cluster_has_to_do_is_not_submitted_to_another(
    cluster: TestCluster, other: TestCluster, toy_study: Write
) -> None:
    study = short(toy_study)
    cluster.submit(study)
    said = other.submit(study)
    assert "waits: " in said and f"is on cluster {cluster.settings.name}" in said
    assert pending(cluster) == ["1_0", "1_1"] and pending(other) == []
    assert {row["note"] for row in other.rows()} == {
        f"its job 1_{index} is on cluster {cluster.settings.name}" for index in (0, 1)}


@pytest.mark.slow
def test_a_run_at_work_on_one_cluster_is_left_to_it_by_another(
    cluster: TestCluster, other: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(environment={"FER_INJECT": "slow:0.5"})
    study = short(toy_study, {**GRID, "seed": [0]}, epochs=4)
    cluster.submit(study)
    cluster.command("scontrol", "release", "1")
    cluster.wait_for_step(3)
    other.submit(study)
    assert pending(other) == []
    cluster.wait_for_state("done", "failed")
    assert "nothing to train" in other.submit(study)
    assert pending(other) == [] and cluster.restarts() == [0]


def test_cancelling_from_another_cluster_leaves_its_own_job_of_that_number_alone(
    cluster: TestCluster, other: TestCluster, toy_study: Write
) -> None:
    study = short(toy_study)
    cluster.submit(study)
    other.submit(short(toy_study, {**GRID, "seed": [7, 8]}, name="theirs"))
    assert pending(other) == ["1_0", "1_1"]
    assert other.launch("status", study, "--cancel", "*").returncode == 0
    assert pending(other) == ["1_0", "1_1"] == pending(cluster)
    assert cluster.launch("status", "toy", "--cancel", "*").returncode == 0  # here they are its own
    assert pending(cluster) == [] and pending(other) == ["1_0", "1_1"]


@pytest.mark.parametrize("old", [False, True], ids=["noted", "noted by old code"])
def test_after_numbers_began_anew_no_foreign_job_is_believed_cancelled_or_remembered(
    old: bool, tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    study, foreign = short(toy_study), short(toy_study, {**GRID, "seed": [7, 8]}, name="foreign")
    with brought_up(tmp_path, toy_data, profile=HOLD, new=True) as cluster:
        port = cluster.settings.first_port
        cluster.submit(study)
        if old:
            written_by_old_code(cluster)
    with brought_up(tmp_path, toy_data, profile=HOLD, first_port=port, new=True) as cluster:
        cluster.submit(foreign)
        assert pending(cluster) == ["1_0", "1_1"]
        cluster.launch("status", "toy", "--cancel", "*")
        assert pending(cluster) == ["1_0", "1_1"]
        for run in cluster.runs():
            (run / "cancel").unlink(missing_ok=True)
        said = cluster.submit(study)
        if old:  # it may be on another cluster: somebody has to say
            assert "its job 1_0 and its cluster are unknown here" in said
            assert len(pending(cluster)) == 2
        else:
            assert "submitted 2 runs" in said and len(pending(cluster)) == 4
        cluster.command("scancel", "1")
        cluster.launch("report", "toy", "--after-jobs")
        assert not list(cluster.home.glob("studies/toy/slurm/001/ended.json"))


def test_queued_jobs_of_a_store_of_before_are_known_by_their_comment_and_cancelled(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = short(toy_study)
    cluster.submit(study)
    written_by_old_code(cluster)
    assert "submitted" not in cluster.submit(study) and pending(cluster) == ["1_0", "1_1"]
    assert submissions(cluster)[0]["cluster"] == cluster.settings.name  # from now on it is noted
    written_by_old_code(cluster)
    assert cluster.launch("status", "toy", "--cancel", "*").returncode == 0
    assert pending(cluster) == []


def test_a_launcher_killed_before_it_knew_the_number_is_heard_of_on_the_other_cluster(
    cluster: TestCluster, other: TestCluster, toy_study: Write
) -> None:
    study = short(toy_study)
    mark = cluster.root / "in sbatch"
    cluster.count_sbatch(after=f'touch "{mark}"; sleep 3')
    process = cluster.start("sweep", study, "--cluster", "test")
    wait_until(mark.exists)
    process.kill()
    process.wait()
    cluster.count_sbatch()
    said = other.submit(study)
    assert f"it was being submitted on cluster {cluster.settings.name}" in said
    assert pending(other) == [] and pending(cluster) == ["1_0", "1_1"]
    cluster.submit(study)  # finds its own by the comment
    assert pending(cluster) == ["1_0", "1_1"]


def test_jobs_of_runs_that_an_edited_study_lost_are_listed_and_cancelled(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.submit(short(toy_study, {**GRID, "seed": [0, 1, 2]}))
    cluster.submit(short(toy_study, {**GRID, "seed": [0]}))
    shown = json.loads(cluster.launch("status", "toy", "--json").stdout)
    assert [row["state"] for row in shown] == ["queued", "orphaned", "orphaned"]
    name = shown[1]["run"]
    assert cluster.launch("status", "toy", "--cancel", name).returncode == 0
    assert len(pending(cluster)) == 2
    assert cluster.launch("status", "toy", "--cancel", "orphaned").returncode == 0
    assert len(pending(cluster)) == 1
    shown = json.loads(cluster.launch("status", "toy", "--json").stdout)
    assert [row["state"] for row in shown] == ["queued"]


def test_a_run_that_another_study_wants_is_no_orphan(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.submit(short(toy_study))
    cluster.submit(short(toy_study, name="twin"))
    cluster.submit(short(toy_study, {**GRID, "seed": [0]}))
    shown = json.loads(cluster.launch("status", "toy", "--json").stdout)
    assert [row["state"] for row in shown] == ["queued"]


@dataclass
class Bob:
    """A second Linux user, with a store that both may write.

    Attributes:
        python: command that starts this Python's packages as him.
    """

    name: str
    store: Path
    data: Path
    python: list[str]

    def types(self, cluster: TestCluster, script: str, *words: object) -> str:
        """Run a script of `launch/` as him and return what it printed."""
        env = {**cluster.env, "FER_CACHE": str(self.store / "bob"), "HOME": str(self.store / "bob"),
               "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
               "GIT_CONFIG_VALUE_0": "*", "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            ["runuser", "-u", self.name, "--", "env", *(f"{k}={v}" for k, v in env.items()),
             "bash", "-c", '"$@"', "bash", *self.python,
             str(REPOSITORY / "launch" / f"{script}.py"), *map(str, words)],
            capture_output=True, text=True, cwd=REPOSITORY)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout


def python_for(user: str) -> list[str]:
    """Return how a user starts a Python with this one's packages; root's own may be out of reach.
    """
    packages = os.path.dirname(os.path.dirname(pytest.__file__))
    path = f"PYTHONPATH={REPOSITORY}:{packages}"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = ["env", path, python]
        if not subprocess.run(["runuser", "-u", user, "--", *command, "-c", "import yaml, numpy"],
                              capture_output=True, cwd="/").returncode:
            return command
    reason = f"another user can start neither {sys.executable} nor the system's Python"
    if os.environ.get("FER_REQUIRE_SLURM"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def bob(toy_data: Path) -> Iterator[Bob]:
    """A second Linux user."""
    require_slurm()  # and so root
    name, store = f"ferbob{os.getpid()}", Path(f"/tmp/fer-store-{os.getpid()}")
    subprocess.run(["useradd", "--no-create-home", name], check=True)
    try:
        store.mkdir()
        store.chmod(0o777)
        data = shutil.copytree(toy_data, store / "data")
        data.chmod(0o755)
        yield Bob(name, store, data, python_for(name))
    finally:
        # his last job may still be ending
        wait_until(lambda: not subprocess.run(["userdel", name]).returncode, 60)
        shutil.rmtree(store)


@pytest.mark.slow
def test_a_colleagues_jobs_are_seen_named_and_left_alone(bob: Bob, toy_study: Write) -> None:
    python = " ".join(["env", 'PYTHONPATH="$PYTHONPATH":' + bob.python[1].partition(":")[2],
                       bob.python[2]])
    with brought_up(bob.store, bob.data, profile={**HOLD, "python": python},
                    new=True) as cluster:
        study = Path(shutil.copy(short(toy_study), bob.store / "toy.yaml"))
        bob.types(cluster, "sweep", study, "--cluster", "test", "--detach")
        assert pending(cluster) == ["1_0", "1_1"]
        assert "submitted" not in cluster.submit(study) and pending(cluster) == ["1_0", "1_1"]
        assert {(row["state"], row["owner"]) for row in cluster.rows()} == {("queued", bob.name)}
        said = cluster.launch("status", "toy", "--cancel", "*").stdout
        assert pending(cluster) == ["1_0", "1_1"] and not list(cluster.home.glob("runs/*/cancel"))
        assert f"{bob.name} submitted its job 1_0; ask {bob.name} to run: scancel 1_0" in said
        own = json.loads(bob.types(cluster, "status", "toy", "--json"))
        assert {row["owner"] for row in own} == {""}
        cluster.command("scontrol", "release", "1")
        cluster.wait_for_state("done")
        assert "nothing to train" in cluster.launch("sweep", study, "--cluster", "test").stdout


def test_a_running_orphan_saves_and_stops(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, "slow:0.5") as cluster:
        cluster.submit(short(toy_study, epochs=99))
        cluster.wait_for_step(1)
        held = short(toy_study, {**GRID, "seed": [9]})
        cluster.write_profile(**HOLD)
        cluster.submit(held)
        shown = json.loads(cluster.launch("status", held, "--json").stdout)
        assert [row["state"] for row in shown] == ["queued", "orphaned", "orphaned"]
        cluster.launch("status", "toy", "--cancel", "orphaned")
        wait_until(lambda: len(pending(cluster)) == 1, message=cluster.logs)
        stopped = [json.loads((run / "status.json").read_text())["state"] for run in cluster.runs()
                   if (run / "status.json").exists()]
        assert stopped == ["cancelled", "cancelled"]
