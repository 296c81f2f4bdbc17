"""What SLURM says, and what follows for a run: parsing, states, leases, requeues. No daemons."""

from dataclasses import replace
from pathlib import Path

import pytest

from fer.cluster.dist_env import FIRST_PORT, PORTS, free_port_from, local_ranks, slurm_ranks
from fer.cluster.requeue import (
    REQUEUE,
    CurrentJob,
    after_tasks,
    cause_of,
    parse_job,
    refuse_restart,
)
from fer.study import slurm_jobs as slurm
from fer.study.lease import Lease, LeaseTaken, Owner
from fer.study.run_folder import RunFolder
from fer.study.run_records import Status
from fer.study.run_state import LastSeen, ResolvedState, resolve_state
from fer.study.slurm_jobs import FIELDS, UNKNOWN, Job, JobIdentity, Jobs, parse_sacct, parse_squeue

ENVIRONMENT = {
    "SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1",
    "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "17", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
    "CUDA_VISIBLE_DEVICES": "0,1"}


ONE = JobIdentity("1", "c", "ann", "fer:1")


def squeue_line(**cells: str) -> str:
    return "".join(cells.get(name, "").ljust(width) for name, width in FIELDS.items())


def test_a_line_of_squeue_is_cut_at_its_columns_also_where_cells_are_empty_or_have_spaces() -> None:
    text = squeue_line(JobArrayID="12_3", State="PENDING", Reason="(launch failed requeued held)",
                       RestartCnt="2", StartTime="2026-11-24T11:51:56", Comment="fer:a b/001:ff")
    job = parse_squeue(text + "\n")["12_3"]
    assert (job.state, job.reason, job.restarts, job.nodes) == (
        "PENDING", "(launch failed requeued held)", 2, "")
    assert job.comment == "fer:a b/001:ff" and job.starts == "2026-11-24T11:51:56"


def test_sacct_says_who_cancelled_a_job_and_that_is_left_out() -> None:
    found = parse_sacct("5_0|CANCELLED by 1000|None|n1|ann|\n5_1|COMPLETED|None|n[1-2]|ann|a|b\n"
                        "5_2|CANCELLED|DependencyNeverSatisfied|||\n")
    assert found["5_0"].state == "CANCELLED" and found["5_1"].nodes == "n[1-2]"
    assert found["5_0"].cancelled and not found["5_2"].cancelled  # SLURM did, for a failed parent


def test_where_squeue_does_not_answer_every_job_may_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ask", lambda command: None)
    queue = slurm.read_queue()
    assert not queue.answered and queue.find(ONE).may_live and queue.may_work(ONE, 0)


@pytest.mark.parametrize(("job", "restart", "alive"), [
    (Job("1", "RUNNING", restarts=0), 0, True),
    (Job("1", "RUNNING", restarts=1), 0, False),  # a later start works now
    (Job("1", "COMPLETING", restarts=1), 0, True),  # preempted, and still saving
    (Job("1", "PENDING", restarts=1), 0, False),
    (Job("1", "COMPLETED"), 0, False),
    (Job("2", "RUNNING"), 0, False),  # nobody knows job 1 any more
])
def test_a_process_lives_no_longer_than_its_start_of_its_job(
    job: Job, restart: int, alive: bool
) -> None:
    assert Jobs({job.id: job}, cluster="c").may_work(ONE, restart) == alive


def test_a_lease_of_a_finished_job_on_another_host_is_free_and_of_a_running_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    from dataclasses import asdict

    elsewhere = Owner("node7", "boot", 5, "1", job="9_0", restart=0)
    for state, taken in (("RUNNING", True), ("COMPLETED", False)):
        queue = Jobs({"9_0": Job("9_0", state)}, cluster="c")
        monkeypatch.setattr("fer.study.lease.read_queue", lambda queue=queue: queue)
        (tmp_path / "lease").write_text(json.dumps(asdict(elsewhere)))
        (tmp_path / "lease.owner.json").write_text(json.dumps({"owners": [
            {"owner": asdict(elsewhere), "cluster": "c", "user": "ann", "comment": "fer:1"}]}))
        if taken:
            with pytest.raises(LeaseTaken, match=r"job 9_0 on node7"):
                Lease(tmp_path / "lease").take()
        else:
            Lease(tmp_path / "lease").take()


def test_a_requeued_job_takes_over_from_its_own_earlier_start_without_asking(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_JOB", "9_0")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c")
    monkeypatch.setenv("FER_COMMENT", "fer:1")
    monkeypatch.setattr("fer.study.lease.read_queue", lambda: pytest.fail("squeue was asked"))
    before, job = Owner("node7", "boot", 5, "1", job="9_0"), JobIdentity("9_0", "c", "", "fer:1")
    assert not before.alive(known=job) and replace(before, restart=1).alive(known=job)


@pytest.mark.parametrize("other", [
    JobIdentity("9_0", "other", "", "fer:1"), JobIdentity("9_0", "c", "", "fer:2"),
    JobIdentity("9_0")], ids=["of another cluster", "of another submission", "of before"])
def test_a_requeued_job_takes_nothing_from_another_job_of_its_number(
    other: JobIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FER_JOB", "9_0"), ("SLURM_RESTART_COUNT", "1"),
                        ("SLURM_CLUSTER_NAME", "c"), ("FER_COMMENT", "fer:1")):
        monkeypatch.setenv(name, value)
    queue = Jobs({"9_0": Job("9_0", "RUNNING", restarts=1, comment="fer:1"),
                  "9_1": Job("9_1", "RUNNING")}, cluster="c")
    before = Owner("node7", "boot", 5, "1", job="9_0", restart=0)
    assert before.alive(queue, other) == (other.comment != "fer:2")  # that one is over, and known


def seen(status: Status, job: Job | None = None, **changes: object) -> LastSeen:
    live = job is not None and job.live
    whole: dict[str, object] = {
        "status": status, "sent": True, "cancel_asked": False, "parents": [], "job": job,
        "job_live": live, "alive": lambda: False, **changes}
    return LastSeen(**whole)  # type: ignore[arg-type]


ENDED = Status(state="preempted", ended=True)
WORKED = Status(state="running", heartbeat=1.0, step=5)
WAITS = Job("1_0", "PENDING", "Priority")
BACK = Job("1_0", "PENDING", "BeginTime", restarts=1, starts="2026-11-24T11:51:56")


@pytest.mark.parametrize(("what", "judged"), [
    (seen(Status(state="done"), Job("1_0", "RUNNING")), ResolvedState("done")),
    (seen(WORKED, Job("1_0", "RUNNING"), alive=lambda: True), ResolvedState("running")),
    (seen(Status(), WAITS), ResolvedState("queued", "Priority")),
    (seen(WORKED, BACK), ResolvedState("requeued", "eligible 11:51:56, BeginTime")),
    (seen(Status(state="preempted"), Job("1_0", "COMPLETING")),
     ResolvedState("preempted", "its job is ending")),
    (seen(Status(), Job("1_0", "RUNNING")),
     ResolvedState("queued", "its job runs but has not reached it")),
    (seen(Status(), Job("1_0", "CANCELLED")), ResolvedState("cancelled")),
    (seen(Status(), Job("1_0", "CANCELLED", "DependencyNeverSatisfied"), parents=["failed"]),
     ResolvedState("blocked", "a parent run failed or was cancelled")),
    (seen(WORKED, Job("1_0", "OUT_OF_MEMORY")),
     ResolvedState("lost", "job 1_0 ended OUT_OF_MEMORY")),
    (seen(WORKED, Job("1_0", "")),
     ResolvedState("lost", "job 1_0 ended in a state SLURM no longer knows")),
    (seen(WORKED, Job("1_0", UNKNOWN, "SLURM does not respond")),
     ResolvedState("running", "SLURM does not respond")),
    (seen(Status(), Job("1_0", UNKNOWN, "on c2")), ResolvedState("queued", "on c2")),
    (seen(ENDED, Job("1_0", UNKNOWN, "on c2")), ResolvedState("queued", "on c2")),
    (seen(WORKED, Job("1_0", UNKNOWN, "on c2"), alive=lambda: True),
     ResolvedState("running", "on c2")),
    (seen(Status(), WAITS, cancel_asked=True), ResolvedState("cancelled")),
    (seen(Status(), Job("1_0", "CANCELLED"), parents=["cancelled"]),
     ResolvedState("blocked", "a parent run failed or was cancelled")),
    (seen(ENDED, Job("1_0", "")), ResolvedState("cancelled")),
                                              # nobody remembers more than the job saw
    (seen(ENDED, Job("1_0", "PREEMPTED")), ResolvedState("lost", "job 1_0 ended PREEMPTED")),
    (seen(Status(), Job("1_0", "RUNNING"), next_in_job=lambda: True),
     ResolvedState("starting", "its job has begun")),
    (seen(WORKED, Job("1_0", "SUSPENDED"), alive=lambda: True),
     ResolvedState("suspended", "SLURM suspended its job; it resumes by itself")),
    (seen(Status(), Job("1_0", "PENDING", "(launch failed requeued held)", restarts=1)),
     ResolvedState("requeued", "(launch failed requeued held): it starts after: scontrol release "
                               "1_0")),
    (seen(Status(), Job("1_0", "PENDING", "PartitionTimeLimit")),
     ResolvedState("queued", "PartitionTimeLimit: it asks for more time than its partition gives "
                             "and never starts; scancel 1_0, then lower resources.time")),
    (seen(WORKED), ResolvedState("lost")),
    (seen(Status()), ResolvedState("queued")),
    (seen(Status(), sent=False), ResolvedState("pending")),
    (seen(Status(), parents=["blocked"]),
     ResolvedState("blocked", "a parent run failed or was cancelled")),
])
def test_the_state_of_a_run_is_what_files_and_queue_say_together(
    what: LastSeen, judged: ResolvedState
) -> None:
    assert resolve_state(what) == judged


def test_a_job_that_slurm_cancels_because_a_parent_failed_was_not_cancelled_by_anybody() -> None:
    assert Job("1", "CANCELLED", "None").cancelled
    assert not Job("1", "CANCELLED", "DependencyNeverSatisfied").cancelled


@pytest.mark.parametrize(("line", "by"), [
    ("JobState=RUNNING Restarts=0 RunTime=00:01:00 TimeLimit=00:10:00", "nobody"),
    ("JobState=COMPLETING Restarts=1 RunTime=00:00:00 TimeLimit=00:10:00", "requeued"),
    ("JobState=COMPLETING Restarts=0 RunTime=00:01:00 TimeLimit=00:10:00", "somebody"),
    ("JobState=CANCELLED Restarts=0 RunTime=00:01:00 TimeLimit=UNLIMITED", "somebody"),
    ("JobState=COMPLETING Restarts=0 RunTime=00:10:01 TimeLimit=00:10:00", "time limit"),
    ("JobState=COMPLETING Restarts=0 RunTime=1-00:00:01 TimeLimit=1-00:00:00", "time limit"),
])
def test_who_ends_a_job_can_be_read_off_its_state(line: str, by: str) -> None:
    job = parse_job(f"JobId=1 {line} Comment=a=b", "1", my_restart=0)
    assert isinstance(job, CurrentJob) and job.ended_by == by


def test_a_rank_has_its_place_in_the_environment_before_accelerate_is_made() -> None:
    found = slurm_ranks(ENVIRONMENT, resolves=lambda host: host == "n1")
    assert found["RANK"] == "3" and found["LOCAL_RANK"] == "1" and found["WORLD_SIZE"] == "4"
    assert found["LOCAL_WORLD_SIZE"] == "2" and found["MASTER_ADDR"] == "n1"
    assert FIRST_PORT <= int(found["MASTER_PORT"]) < FIRST_PORT + PORTS < 32768
    assert "CUDA_VISIBLE_DEVICES" not in found


def test_the_address_of_the_first_node_serves_where_its_name_does_not_resolve() -> None:
    assert slurm_ranks(ENVIRONMENT, resolves=lambda host: False)["MASTER_ADDR"] == "10.0.0.1"


@pytest.mark.parametrize(("nodes", "first"), [
    ("n1", "n1"), ("n[1-2]", "n1"), ("gpu[007,009-011]", "gpu007"), ("a1,b[2-3]", "a1"),
    ("r[01-02]c3,x", "r01c3")])
def test_the_first_node_of_a_list_is_the_one_of_the_first_rank(nodes: str, first: str) -> None:
    environment = {**ENVIRONMENT, "SLURM_JOB_NODELIST": nodes}
    assert slurm_ranks(environment, resolves=lambda host: True)["MASTER_ADDR"] == first


def test_a_task_that_sees_one_gpu_takes_that() -> None:
    assert slurm_ranks({**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "3"}, lambda host: True
                       )["LOCAL_RANK"] == "0"


def test_a_single_task_is_no_rank() -> None:
    assert slurm_ranks({**ENVIRONMENT, "SLURM_NTASKS": "1"}) == {} == local_ranks(0, 1, 0)


def test_jobs_and_restarts_near_in_time_have_ports_of_their_own() -> None:
    ports = {slurm_ranks({**ENVIRONMENT, "SLURM_JOB_ID": str(job),
                          "SLURM_RESTART_COUNT": str(restart)}, lambda host: True)["MASTER_PORT"]
             for job in range(100, 200) for restart in range(20)}
    assert len(ports) == 100 * 20


def test_a_port_that_somebody_listens_on_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        first = free_port_from(FIRST_PORT + 500)
        taken.bind(("", first))
        assert free_port_from(first) > first


@pytest.mark.parametrize(("code", "log", "hung", "error", "passes"), [
    (137, "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", [], "out of memory",
     "never"),
    (137, "slurmstepd: error: Detected 1 oom-kill event(s)", [], "out of memory", "never"),
    (137, "srun: error: n1: task 0: Out Of Memory", [], "out of memory", "never"),
    (137, "killed", [], "were killed (SIGKILL)", "often"),
    (143, "", [], "were killed (SIGTERM)", "often"),
    (139, "", [], "crashed (SIGSEGV)", "rarely"),
    (135, "", [], "crashed (SIGBUS)", "rarely"),
    (74, "", [], "srun lost its processes", "often"),
    (1, "ModuleNotFoundError: No module named 'torch'", [], "ended with code 1", "rarely"),
    (76, "", ["no step for 700 s"], "hung: no step for 700 s", "often"),
    (76, "", ["one", "no step for 700 s"], "hung: no step for 700 s", "never"),
])
def test_what_processes_died_of_says_whether_to_start_them_again(
    code: int, log: str, hung: list[str], error: str, passes: str
) -> None:
    cause = cause_of(code, log, hung, "nobody")
    assert error in cause.error and cause.passes == passes


def test_a_job_beyond_its_time_goes_on_with_a_hint() -> None:
    cause = cause_of(137, "", [], "time limit")
    assert "signal_delay" in cause.error and cause.passes == "often"


JOB_LINE = "JobId=9 JobState=RUNNING Restarts={} RunTime=00:01:00 TimeLimit=00:10:00"


@pytest.mark.parametrize(("code", "log", "status", "restarts", "answer", "state"), [
    (REQUEUE, "", Status(state="preempted"), 0, REQUEUE, "preempted"),
    (REQUEUE, "", Status(state="preempted"), 20, 1, "failed"),  # max_restarts
    (139, "", Status(state="running", begun=True), 0, REQUEUE, "lost"),
    (139, "", Status(state="running", begun=True, stalls=1), 1, 139, "failed"),
    (139, "", Status(state="running", begun=True), 1, REQUEUE, "lost"),
    (139, "", Status(state="running"), 1, 139, "failed"),
    (137, "", Status(state="running", begun=True, stalls=1), 2, REQUEUE, "lost"),
    (137, "oom_kill", Status(state="running", step=9), 0, 137, "failed"),
    (1, "ImportError", Status(), 0, REQUEUE, "lost"),
    (1, "ImportError", Status(), 1, 1, "failed"),
    (0, "", Status(state="done"), 0, 0, "done"),
])
def test_a_job_is_requeued_only_where_that_may_help(
    code: int, log: str, status: Status, restarts: int, answer: int, state: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_JOB", "9_0")
    monkeypatch.setenv("FER_START", f"9_0.{restarts}")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_status(status)
    (tmp_path / "log").write_text(log)
    job = parse_job(JOB_LINE.format(restarts), "9_0", my_restart=restarts)
    assert after_tasks([folder], code, tmp_path / "log", job) == answer
    assert folder.status().state == state
    if state == "failed":
        assert folder.status().error


def test_a_start_too_many_writes_nothing_of_a_run_that_another_process_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_JOB", "9_0")
    monkeypatch.setenv("FER_START", "9_0.20")
    mine, other = RunFolder(tmp_path / "mine"), RunFolder(tmp_path / "other")
    for folder in (mine, other):
        folder.path.mkdir()
        folder.write_status(Status(state="running", step=3))
    other.lease.take()  # this process is in no job
    assert refuse_restart([mine, other], 21, first=True)
    assert mine.status().state == "failed" and other.status() == Status(state="running", step=3)


def test_without_an_answer_of_slurm_a_job_is_left_to_the_launcher(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_status(Status(state="preempted"))
    assert after_tasks([folder], REQUEUE, tmp_path / "log", None) == 1


@pytest.mark.parametrize(("line", "state"), [
    ("JobState=COMPLETING Restarts=1", "preempted"),  # SLURM requeues it: not twice
    ("JobState=CANCELLED Restarts=0", "preempted")])
def test_a_job_that_slurm_requeues_or_somebody_ended_is_not_requeued(
    line: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_JOB", "9_0")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.write_status(Status(state="preempted"))
    job = parse_job(f"{line} RunTime=00:01:00 TimeLimit=00:10:00", "9_0", my_restart=0)
    assert after_tasks([folder], REQUEUE, tmp_path / "log", job) == 1
    assert folder.status().ended == ("CANCELLED" in line)
