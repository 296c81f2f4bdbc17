"""Studies handed to SLURM, on real daemons: what is submitted, once, and what comes back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY, TOY, launch
from slurm_cluster import TestCluster, brought_up, wait_until
from test_mistakes import fill, said_in_one_line, small_disk  # noqa: F401 - a fixture
from test_resume import numbers

Write = Callable[..., Path]
GRID = {"recipe": ["scratch", "lfw_then_target"], "train_on": ["mlfw"], "seed": [0, 1]}

pytestmark = pytest.mark.slurm


def short(grid: dict[str, object], **more: object) -> dict[str, object]:
    """Return a study's `set` for runs of one epoch."""
    return {**{k: v for k, v in TOY.items() if k not in grid}, "train.epochs": 1,
            "keep.tensorboard": False, **more}


@pytest.fixture
def cluster(tmp_path: Path, toy_data: Path) -> Iterator[TestCluster]:
    """A cluster without accounting, whose calls of `sbatch` are counted."""
    with brought_up(tmp_path, toy_data) as made:
        made.count_sbatch()
        yield made


@pytest.mark.real_python
def test_a_study_gives_the_table_of_the_local_run_and_a_finished_one_calls_sbatch_no_more(
    cluster: TestCluster, toy_study: Write, tmp_path: Path
) -> None:
    study = toy_study(GRID)
    dry = cluster.launch("sweep", study, "--cluster", "test", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    done = cluster.launch("sweep", study, "--cluster", "test")
    assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    local = launch("sweep", study, "--cluster", "local", FER_HOME=str(tmp_path / "here"),
                   FER_DATA=str(cluster.data), FER_CACHE=str(cluster.root / "cache"))
    assert local.returncode == 0, local.stdout + local.stderr
    results = "studies/toy/report/results.csv"
    assert (cluster.home / results).read_bytes() == (tmp_path / "here" / results).read_bytes()
    calls = cluster.sbatch_calls
    assert calls == 3  # parents and scratch, their children, the report
    again = cluster.launch("sweep", study, "--cluster", "test")
    assert again.returncode == 0 and "nothing to train" in again.stdout
    assert cluster.sbatch_calls == calls
    for number, (job, script) in enumerate(submitted(cluster), 1):
        dry_script = dry.stdout
        for earlier, (other, _) in enumerate(submitted(cluster), 1):
            dry_script = dry_script.replace(f"JOB_ID_OF_ARRAY_{earlier}", other)
        assert script in dry_script, f"script {number} of job {job} is not what --dry-run said"


def submitted(cluster: TestCluster, study: str = "toy") -> list[tuple[str, str]]:
    """Return (job id, script) of everything that was submitted, in order."""
    folders = sorted(path.parent for path in cluster.home.glob(f"studies/{study}/slurm/*/job.json"))
    return [(json.loads((folder / "job.json").read_text())["job"],
             (folder / "script.sh").read_text()) for folder in folders]


def test_detach_comes_back_at_once_and_the_last_job_makes_the_report(
    cluster: TestCluster, toy_study: Write
) -> None:
    begun = time.monotonic()
    cluster.submit(toy_study({"seed": [0]}, set=short({"seed": [0]})))
    # the first time that a backbone is planned, a process with torch looks at it
    assert time.monotonic() - begun < 20
    page = cluster.home / "studies/toy/report/index.html"
    wait_until(page.exists, message=cluster.logs)
    assert cluster.states() == ["done"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_launcher_killed_while_submitting_leaves_no_run_twice_in_the_queue(
    moment: str, cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study(GRID, set=short(GRID), evaluate_on=["lfw/eval"],
                      gap=None)
    mark = cluster.root / "in sbatch"
    cluster.write_profile(sbatch={"hold": True})
    cluster.count_sbatch(**{moment: f'touch "{mark}"; sleep 4'})
    process = cluster.start("sweep", study, "--cluster", "test")
    wait_until(mark.exists)
    time.sleep(0.5)
    process.kill()  # the call of sbatch goes on without it
    process.wait()
    cluster.count_sbatch()
    cluster.submit(study)
    jobs = [job for job in cluster.jobs().values() if job["JobName"] == "fer-toy"]
    tasks = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
    assert len(tasks.split()) == 6, jobs
    runs = [json.loads((run / "submit.json").read_text()) for run in cluster.runs()]
    assert len({(one["submission"], one["index"]) for one in runs}) == 6


def test_a_launcher_killed_before_it_submits_the_report_makes_up_for_it(
    cluster: TestCluster, toy_study: Write
) -> None:
    grid = {"seed": [0]}
    study = toy_study(grid, set=short(grid))
    mark = cluster.root / "in sbatch"
    cluster.write_profile(sbatch={"hold": True})
    cluster.count_sbatch(before=f'case "$*" in *report*) touch "{mark}"; sleep 3; exit 1;; esac')
    process = cluster.start("sweep", study, "--cluster", "test")
    wait_until(mark.exists)
    process.kill()
    process.wait()
    cluster.count_sbatch()
    for _ in range(2):  # once: the second call finds it in the queue
        cluster.submit(study)
    reports = cluster.command("squeue", "--noheader", "--name=fer-toy-report", "--format=%i %E")
    assert len(reports.splitlines()) == 1 and "afterany" in reports


def test_what_was_submitted_before_a_refusal_has_its_report(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study(GRID, set=short(GRID))
    cluster.write_profile(sbatch={"hold": True})
    cluster.count_sbatch(before='[ "$(wc -l < "$CALLS_OF_SBATCH")" != 2 ] || '
                                '{ echo "sbatch: error: no more today" >&2; exit 1; }')
    done = cluster.launch("sweep", study, "--cluster", "test", "--detach")
    said_in_one_line(done, "no more today")
    assert cluster.sbatch_calls == 3
    assert len(cluster.command("squeue", "--noheader", "--name=fer-toy-report").splitlines()) == 1


def test_a_run_reopened_while_its_job_waits_stays_with_that_job(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    study = toy_study({"seed": [0, 1]}, set=short({"seed": []}), resources={"runs_per_job": 2})
    cluster.submit(study)
    assert cluster.launch("status", "toy", "--cancel", "*-s1-*").returncode == 0
    assert cluster.states() == ["queued", "cancelled"]
    again = cluster.launch("status", "toy", "--retry", "*-s1-*")
    assert again.returncode == 0, again.stdout + again.stderr
    assert cluster.states() == ["queued", "queued"]
    tasks = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
    assert len(tasks.split()) == 1
    submissions = {json.loads((run / "submit.json").read_text())["submission"]
                   for run in cluster.runs()}
    assert len(submissions) == 1


def test_a_time_that_is_over_when_the_warning_comes_is_one_line(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(signal_delay=120)
    study = toy_study({"seed": [0]}, resources={"time": "0:02:00"})
    said_in_one_line(cluster.launch("sweep", study, "--cluster", "test", "--dry-run"),
                     "resources.time", "signal_delay")


def test_two_launchers_at_once_submit_a_study_once(cluster: TestCluster, toy_study: Write) -> None:
    cluster.write_profile(sbatch={"hold": True})
    study = toy_study({"seed": [0, 1]}, set=short({"seed": []}))
    processes = [cluster.start("sweep", study, "--cluster", "test", "--detach") for _ in range(3)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0, out
    tasks = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
    assert len(tasks.split()) == 2


@pytest.mark.slow
def test_a_failing_configuration_stops_no_other_and_retry_submits_just_that(
    cluster: TestCluster, toy_study: Write
) -> None:
    grid = {"optim.lr": [0.003, 1e30], "seed": [0]}
    study = toy_study(grid, set=short(grid, **{"optim.clip_norm": None, "optim.name": "sgd",
                                               "train.batch_size": 8}))
    done = cluster.launch("sweep", study, "--cluster", "test")
    assert done.returncode == 1
    assert "NonFiniteLoss" in done.stdout and "Traceback" in done.stdout
    assert sorted(cluster.states()) == ["done", "failed"]
    assert (cluster.home / "studies/toy/report/index.html").is_file()
    failed = cluster.launch("status", "toy", "--failed").stdout
    assert "NonFiniteLoss" in failed and "end of" in failed
    cluster.write_profile(sbatch={"hold": True})
    before = cluster.sbatch_calls
    retry = cluster.launch("sweep", study, "--cluster", "test", "--retry", "--detach")
    assert retry.returncode == 0, retry.stdout + retry.stderr
    assert cluster.sbatch_calls == before + 2  # its job and the report
    tasks = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
    assert len(tasks.split()) == 1


@pytest.mark.slow
def test_children_of_a_failed_parent_are_blocked_and_run_after_a_retry(
    cluster: TestCluster, toy_study: Write
) -> None:
    grid = {"recipe": ["lfw_then_target"], "train_on": ["mlfw"], "seed": [0]}
    cluster.write_profile(environment={"FER_INJECT": "raise:0:2"})
    study = toy_study(grid, set=short(grid))
    done = cluster.launch("sweep", study, "--cluster", "test")
    assert done.returncode == 1 and "blocked: resmasking_tiny-lfw_then_target" in done.stdout
    assert sorted(cluster.states()) == ["blocked", "failed"]
    cluster.write_profile()
    again = cluster.launch("status", "toy", "--retry", "failed")
    assert again.returncode == 0, again.stdout + again.stderr
    cluster.wait_for_state("done")


@pytest.mark.slow
def test_a_study_can_be_submitted_from_inside_a_job(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]}, set=short({"seed": []}))
    command = (f'{sys.executable} "{REPOSITORY}/launch/sweep.py" "{study}" --cluster test '
               "--detach")
    subprocess.run(["sbatch", "--wait", "--ntasks=2", f"--output={cluster.root}/outer.log",
                    f"--wrap={command}"], env={**os.environ, **cluster.env}, check=True)
    assert "submitted 1 run " in (cluster.root / "outer.log").read_text()
    cluster.wait_for_state("done")


def test_a_partition_that_is_not_there_is_one_line_before_anything_is_submitted(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(partition="gpu9")
    done = cluster.launch("sweep", toy_study({"seed": [0]}), "--cluster", "test")
    said_in_one_line(done, "gpu9", "test.yaml", "main", "urgent")
    assert cluster.sbatch_calls == 0 and not cluster.jobs()


def test_more_nodes_than_a_partition_has_are_refused_and_do_not_wait_for_ever(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]}, resources={"nodes": 3})
    for more in ([], ["--dry-run"]):
        done = cluster.launch("sweep", study, "--cluster", "test", *more)
        said_in_one_line(done, "3 nodes", "main", "has 2")
    assert cluster.sbatch_calls == 0 and not cluster.jobs()


def test_what_sbatch_refuses_is_said_in_one_line(cluster: TestCluster, toy_study: Write) -> None:
    cluster.write_profile(constraint="no_such_feature")
    done = cluster.launch("sweep", toy_study({"seed": [0]}), "--cluster", "test")
    said_in_one_line(done, "sbatch refused", "feature")


def test_more_gpus_than_a_node_has_are_refused_before_anything_is_submitted(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]}, resources={"gpus": 4})
    said_in_one_line(cluster.launch("sweep", study, "--cluster", "test"), "resources.gpus", "has 2")
    assert cluster.sbatch_calls == 0


def test_a_study_larger_than_an_array_is_chunked(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    with brought_up(tmp_path, toy_data, max_array=3) as cluster:
        cluster.count_sbatch()
        cluster.write_profile(sbatch={"hold": True}, array_parallelism=2)
        grid = {"seed": list(range(10))}
        cluster.submit(toy_study(grid, set=short(grid), resources={"runs_per_job": 2}))
        assert cluster.sbatch_calls == 3  # 5 jobs of 2 runs in arrays of at most 3, and the report
        scripts = [script for _, script in submitted(cluster)]
        assert "#SBATCH --array=0-2%2" in scripts[0] and "#SBATCH --array=0-1%2" in scripts[1]


@pytest.mark.slow
def test_several_small_runs_share_a_job_and_have_the_numbers_of_runs_alone(
    cluster: TestCluster, toy_study: Write, tmp_path: Path
) -> None:
    grid = {"seed": [0, 1, 2]}
    study = toy_study(grid, set=short(grid), resources={"runs_per_job": 3})
    assert cluster.launch("sweep", study, "--cluster", "test").returncode == 0, cluster.logs()
    assert len(list(cluster.home.glob("studies/toy/slurm/001/*.log"))) == 1
    local = launch("sweep", study, "--cluster", "local", FER_HOME=str(tmp_path / "here"),
                   FER_DATA=str(cluster.data), FER_CACHE=str(cluster.root / "cache"))
    assert local.returncode == 0
    for run in cluster.runs():
        assert numbers(run) == numbers(tmp_path / "here/runs" / run.name)


@pytest.mark.slow
def test_two_jobs_on_one_node_have_disjoint_gpus(
    tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    grid = {"seed": [0, 1]}
    study = toy_study(grid, set=short(grid, **{"compute.device": "auto"}))
    with brought_up(tmp_path, toy_data, "slow:1", {"exclude": "n2"}) as cluster:
        cluster.submit(study)
        cluster.wait_for_state("done", "failed")
        facts = [json.loads((run / "env.json").read_text()) for run in cluster.runs()]
    assert {fact["node"] for fact in facts} == {"n1"}
    assert {fact["visible_gpus"] for fact in facts} == {"0", "1"}


@pytest.mark.slow
@pytest.mark.parametrize(("style", "seen"), [
    ("gres", ["local rank 0, GPUs 0,1", "local rank 1, GPUs 0,1"]),
    ("gpus_per_task", ["local rank 0, GPUs 0\n", "local rank 0, GPUs 1\n"])])
def test_each_rank_takes_a_gpu_of_its_own_in_every_style_of_asking(
    style: str, seen: list[str], tmp_path: Path, toy_data: Path, toy_study: Write
) -> None:
    settings = short({"seed": []}, **{"compute.device": "auto", "compute.batch_norm": "local"})
    with brought_up(tmp_path, toy_data, profile={"exclude": "n2"}) as cluster:
        cluster.write_profile(gpu_request=style)
        cluster.submit(toy_study({"seed": [0]}, set=settings, resources={"gpus": 2}))
        cluster.wait_for_state("done", "failed")
        assert cluster.states() == ["done"], cluster.logs()
        said = cluster.logs()
    for rank in range(2):
        assert f"rank {rank} of 2 on n1, {seen[rank]}" in said


@pytest.mark.slow
def test_editing_the_code_after_submission_changes_nothing_in_the_queue(
    cluster: TestCluster, toy_study: Write
) -> None:
    from fer.study.snapshot import snapshot

    mine = cluster.root / "my checkout"
    shutil.copytree(snapshot(REPOSITORY, cluster.root / "copies"), mine)  # no git in there
    cluster.write_profile(sbatch={"hold": True})
    study = toy_study({"seed": [0]}, set=short({"seed": []}))
    done = subprocess.run(
        [sys.executable, str(mine / "launch/sweep.py"), str(study), "--cluster", "test",
         "--detach"], capture_output=True, text=True,
        env={**os.environ, **cluster.env, "PYTHONPATH": str(mine)})
    assert done.returncode == 0, done.stderr
    (mine / "fer/train/trainer.py").write_text("raise RuntimeError('edited meanwhile')\n")
    cluster.command("scontrol", "release", submitted(cluster)[0][0])
    (row,) = cluster.wait_for_state("done", "failed")
    assert row["state"] == "done", row
    (run,) = cluster.runs()
    assert json.loads((run / "env.json").read_text())["git"]["commit"]


@pytest.mark.slow
def test_a_disk_that_fills_up_under_a_job_fails_the_run_and_retry_goes_on(
    small_disk: Path, toy_data: Path, toy_study: Write, tmp_path: Path  # noqa: F811
) -> None:
    settings = short({"seed": []}, **{"train.epochs": 30})
    study = toy_study({"seed": [0]}, set=settings)
    with brought_up(small_disk, toy_data, "slow:0.1") as cluster:
        cluster.submit(study)
        cluster.wait_for_step(12)
        fill(small_disk)
        wait_until(lambda: not cluster.command("squeue", "--noheader", "--name=fer-toy"), 180)
        (row,) = cluster.rows()  # also where its memory of files cannot be written
        assert (row["state"] == "failed" and "No space left" in str(row["error"])) or (
            row["state"] == "lost" and "ended FAILED" in str(row["error"])), row
        assert "\n" not in str(row["error"])
        # the job's log is on the full disk too, and may have no room for the line
        assert "No space left" in f"{row['error']}{cluster.logs()}"
        (small_disk / "filler").unlink()
        cluster.write_profile(environment={"FER_INJECT": ""})
        retried = cluster.launch("sweep", study, "--cluster", "test", "--retry")
        assert retried.returncode == 0, retried.stdout + retried.stderr + cluster.logs()
        (run,) = cluster.runs()
        here = launch("sweep", study, "--cluster", "local", FER_HOME=str(tmp_path / "here"),
                      FER_DATA=str(toy_data), FER_CACHE=str(tmp_path / "cache"))
        assert here.returncode == 0, here.stdout + here.stderr
        assert numbers(run) == numbers(tmp_path / "here/runs" / run.name)


def test_runs_are_cancelled_by_name_also_before_their_job_began(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    grid = {"seed": [0, 1]}
    cluster.submit(toy_study(grid, set=short(grid)))
    assert cluster.states() == ["queued", "queued"]
    done = cluster.launch("status", "toy", "--cancel", "*-s1-*")
    assert done.returncode == 0 and "stop requested for 1 run;" in done.stdout
    assert cluster.states() == ["queued", "cancelled"]
    tasks = cluster.command("squeue", "--noheader", "--array", "--name=fer-toy", "--format=%i")
    assert len(tasks.split()) == 1


def test_many_runs_are_not_cancelled_without_a_yes(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    grid = {"seed": list(range(12))}
    cluster.submit(toy_study(grid, set=short(grid)))
    said_in_one_line(cluster.launch("status", "toy", "--cancel", "queued"), "12 runs", "--yes")
    done = cluster.launch("status", "toy", "--cancel", "queued", "--yes")
    assert done.returncode == 0 and cluster.states() == ["cancelled"] * 12
    assert not cluster.command("squeue", "--noheader", "--name=fer-toy")


@pytest.mark.slow
def test_a_study_waits_for_a_parent_that_another_study_has_in_the_queue(
    cluster: TestCluster, toy_study: Write
) -> None:
    cluster.write_profile(sbatch={"hold": True})
    parents = {"recipe": ["scratch"], "train_on": ["lfw"], "seed": [0]}
    children = {"recipe": ["lfw_then_target"], "train_on": ["mlfw"], "seed": [0]}
    cluster.submit(toy_study(parents, name="one", set=short(parents)))
    cluster.submit(toy_study(children, name="two", set=short(children)))
    (first, *_), (second, *_) = submitted(cluster, "one"), submitted(cluster, "two")
    assert f"#SBATCH --dependency=afterok:{first[0]}_0" in second[1]
    for job, _ in (first, second):
        cluster.command("scontrol", "release", job)
    cluster.wait_for_state("done", study="two")


@pytest.mark.real_python
def test_ctrl_c_leaves_the_jobs_alone(cluster: TestCluster, toy_study: Write) -> None:
    cluster.write_profile(sbatch={"hold": True})
    process = cluster.start("sweep", toy_study({"seed": [0]}, set=short({"seed": []})),
                            "--cluster", "test")
    wait_until(lambda: cluster.sbatch_calls == 2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in out
    assert cluster.states() == ["queued"]


def test_the_doctor_tells_a_good_profile_from_a_wrong_one(
    cluster: TestCluster, toy_study: Write
) -> None:
    study = toy_study({"seed": [0]})
    good = cluster.launch("doctor", study, "--cluster", "test")
    assert good.returncode == 0, good.stdout
    for word in ("sbatch --test-only accepts", "MaxArraySize", "does not resolve", "flock works",
                 "sacct does not respond", "packs"):
        assert word in good.stdout
    cluster.write_profile(account="nobody", partition="gpu9")
    bad = cluster.launch("doctor", "--cluster", "test")
    assert bad.returncode == 1 and "failure" in bad.stdout and "sinfo" in bad.stdout
