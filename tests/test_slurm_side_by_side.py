"""Several runs at once in one job, each with its own GPU, on real daemons; and other resources."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import launch
from slurm_cluster import brought_up, wait_until
from test_resume import numbers
from test_slurm_dispatch import short, submitted

from fer.cluster.arrays import JobArray
from fer.cluster.estimate import makespan
from fer.cluster.job_shape import Shape
from fer.config.study import Resources

Write = Callable[..., Path]
GRID = {"seed": [0, 1, 2]}


@pytest.mark.slurm
def test_runs_side_by_side_have_a_gpu_each_and_the_numbers_of_runs_alone(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    study = toy_study(GRID, set=short(GRID, **{"compute.device": "auto", "train.epochs": 4}),
                      resources={"runs_at_once": 2, "runs_per_job": 2})
    with brought_up(tmp_path, toy_data, "slow:0.5") as cluster:
        cluster.submit(study)
        wait_until(lambda: sorted(cluster.states()) == ["queued", "running", "running"],
                   message=cluster.logs)
        cluster.wait_for_step_of(2, count=2)
        (job,) = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy",
                                 "--format=%i").split()
        cluster.command("scancel", "--signal=USR2", job)  # both save, and come back together
        cluster.wait_for_state("done", "failed", "lost", patience=300)
        assert cluster.states() == ["done"] * 3, cluster.logs()
        assert cluster.restarts() == [1]
        facts = [json.loads((run / "env.json").read_text()) for run in cluster.runs()]
        assert [fact["world_size"] for fact in facts] == [1, 1, 1]
        assert {fact["visible_gpus"] for fact in facts} == {"0", "1"}
        (_, script), _ = submitted(cluster)
        for line in ("#SBATCH --ntasks-per-node=2\n", "#SBATCH --gpus-per-node=2\n",
                     "#SBATCH --array=0%1\n"):
            assert line in script
        done = launch("sweep", study, "--cluster", "local", FER_HOME=str(tmp_path / "here"),
                      FER_DATA=str(cluster.data), FER_CACHE=str(cluster.root / "cache"))
        assert done.returncode == 0, done.stdout + done.stderr
        for run in cluster.runs():
            assert numbers(run) == numbers(tmp_path / "here/runs" / run.name)


@pytest.mark.slurm
@pytest.mark.slow
def test_a_run_that_fails_or_is_killed_leaves_those_beside_it_alone(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    study = toy_study(GRID, set=short(GRID, **{"train.epochs": 6}),
                      resources={"runs_at_once": 3})
    with brought_up(tmp_path, toy_data, "slow:0.5", {"gpu_request": "none", "gpus_per_node": 3}
                    ) as cluster:
        cluster.submit(study)
        cluster.wait_for_step_of(2, count=3)
        first = sorted(cluster.home.glob("runs/*/lease"))[0]
        import os
        import signal

        os.kill(json.loads(first.read_text())["pid"], signal.SIGKILL)
        cluster.wait_for_state("done", "failed", "lost", "running", "requeued", patience=60)
        cluster.wait_for_state("done", "failed", patience=300)
        assert cluster.states() == ["done"] * 3, cluster.logs()
        statuses = [json.loads((run / "status.json").read_text()) for run in cluster.runs()]
        assert sorted(one["restarts"] for one in statuses) == [0, 0, 1]


def test_the_time_of_a_job_is_that_of_its_longest_sequence() -> None:
    steps = tuple(_Step(seconds) for seconds in (8.0, 5.0, 4.0, 3.0))
    array = JobArray(1, Shape(1, 2, True, 1, 60, lanes=2), {0: steps})  # type: ignore[arg-type]
    assert makespan([array], lambda run: run, slots=1) == 12  # type: ignore[arg-type,return-value]


class _Step:
    def __init__(self, seconds: float) -> None:
        self.run = seconds


def test_rules_set_resources_by_labels_and_the_last_one_that_says_something_counts() -> None:
    resources = Resources.model_validate({"for": [
        {"match": {"backbone": "vgg19"}, "memory": "64G"},
        {"match": {"backbone": ["vgg19", "resnet50"], "recipe": "full"}, "time": "8:00:00"},
        {"match": {"seed": 1}, "memory": "80G", "cpus": 4}]})

    def own(backbone: str, recipe: str, seed: int) -> tuple[object, ...]:
        found = resources.own({"backbone": backbone, "recipe": recipe, "train_on": "lfw",
                               "seed": seed})
        return found.memory, found.time, found.cpus

    assert own("vgg19", "scratch", 0) == ("64G", None, None)
    assert own("resnet50", "full", 0) == (None, "8:00:00", None)
    assert own("vgg19", "full", 1) == ("80G", "8:00:00", 4)
    assert own("cbam_tiny", "lp_ft", 2) == (None, None, None)


@pytest.mark.parametrize("wrong", [
    {"gpus": 2, "runs_at_once": 2}, {"nodes": 2, "runs_at_once": 2},
    {"for": [{"match": {}, "memory": "1G"}]}, {"for": [{"match": {"gpu": "a"}, "memory": "1G"}]},
    {"for": [{"match": {"seed": 1}, "memory": "much"}]},
    {"for": [{"match": {"seed": 1}, "gpus": 2}]},
])
def test_resources_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Resources.model_validate(wrong)


def test_each_run_asks_for_its_own_and_a_rule_without_a_run_is_said(
    toy_study: Write, toy_data: Path, tmp_path: Path
) -> None:
    study = toy_study(GRID, set=short(GRID), resources={"for": [
        {"match": {"seed": 2}, "memory": "9G", "time": "0:30:00", "cpus": 2},
        {"match": {"backbone": "vgg91"}, "memory": "64G"}]})
    with brought_up(tmp_path, toy_data) as cluster:
        dry = cluster.launch("sweep", study, "--cluster", "test", "--dry-run", "--set",
                             "partition=urgent", "--set", "sbatch.nice=010")
        assert dry.returncode == 0, dry.stderr
        assert "no run of this study matches {'backbone': 'vgg91'}" in dry.stdout
        assert dry.stdout.count("#SBATCH --mem=9G") == dry.stdout.count("#SBATCH --time=30") == 1
        assert "#SBATCH --cpus-per-task=2" in dry.stdout
        assert dry.stdout.count("--partition=urgent") == 3 and "--nice=010" in dry.stdout
        local = cluster.launch("sweep", study, "--cluster", "local", "--set", "partition=x")
        assert local.returncode == 2 and "--cluster" in local.stderr
