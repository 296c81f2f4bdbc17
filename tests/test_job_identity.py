"""Which job is meant, and what cannot be known of it: no daemons."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from test_lease_identity import AWAY, LISTED, WANTED, lease_of
from test_submission import sent

from fer.cluster.cancel import reopen, request_stop
from fer.cluster.sbatch_call import sbatch
from fer.cluster.slurm_queue import SlurmQueue
from fer.config.profile import Profile
from fer.machine import user_name
from fer.study import queue_view as looking
from fer.study import slurm_jobs as slurm
from fer.study import submission as submissions
from fer.study.failure import keep_failure, kept_failure
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import Status
from fer.study.slurm_jobs import Job, JobIdentity, Jobs, parse_sacct
from fer.study.status import Row
from fer.study.submission import Submission
from fer.untrusted_io import read_object

ME = user_name()


@pytest.mark.parametrize(("wanted", "listed", "state"), [
    (WANTED, LISTED, "RUNNING"),
    (WANTED, replace(LISTED, comment="fer:2"), ""),  # numbers began anew: ours is over
    (WANTED, replace(LISTED, user="bob"), ""),
    (WANTED, replace(LISTED, user="1001"), "RUNNING"),  # a user without a name here
    (WANTED, replace(LISTED, comment=""), "RUNNING"),  # a site that takes comments away
    (replace(WANTED, cluster="d"), LISTED, "UNKNOWN"),
    (replace(WANTED, cluster="d"), None, "UNKNOWN"),
    (replace(WANTED, cluster="", user=""), LISTED, "RUNNING"),  # by its comment
    (replace(WANTED, cluster="", user=""), replace(LISTED, comment=""), "UNKNOWN"),
    (replace(WANTED, cluster="", user=""), replace(LISTED, comment="fer:2"), "UNKNOWN"),
    (replace(WANTED, cluster="", user=""), None, "UNKNOWN"),
    (JobIdentity("7_0"), LISTED, "UNKNOWN"),
    (WANTED, None, ""),
])
def test_a_job_is_believed_by_cluster_user_and_comment(
    wanted: JobIdentity, listed: Job | None, state: str
) -> None:
    queue = Jobs({"7_0": listed} if listed else {}, cluster="c")
    assert queue.find(wanted).state == state


def test_where_slurm_hides_the_jobs_of_others_theirs_are_unknown_and_ones_own_are_not() -> None:
    queue = Jobs(cluster="c", private=True)
    assert queue.find(WANTED).unknown and not queue.find(replace(WANTED, user=ME)).unknown


def test_a_site_that_takes_comments_away_has_no_job_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, folders = sent(tmp_path)
    submission.set_job("7", cluster="c", user=ME)
    monkeypatch.setattr("fer.cluster.cancel.read_queue", lambda: Jobs(
        {"7_0": Job("7_0", "PENDING", user=ME),
         "7_1": Job("7_1", "PENDING", user=ME, comment=submission.comment)}, cluster="c"))
    called: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: called.append(command))
    names, others = request_stop(Store(tmp_path), [row(folder) for folder in folders[:2]], "toy")
    assert called == [["scancel", "7_1"]] and (names, others) == (["r0", "r1"], [])


def row(folder: RunFolder) -> Row:
    return Row(folder.name, "queued", "", "", 0, 0, 0, 0, None, 0, "", "", None, None, "", "", "",
               "")


@pytest.mark.parametrize(("queue", "said"), [
    (Jobs(cluster="d"), "its job 7_0 is on cluster c"),
    (Jobs({}, answered=False), "SLURM does not respond"),
])
def test_a_run_whose_job_is_unknown_waits_and_is_not_opened_again(
    queue: Jobs, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = sent(tmp_path)
    folders[0].write_status(Status(state="failed"))
    monkeypatch.setattr(looking, "read_queue", lambda: queue)
    opened, lines = reopen(Store(tmp_path), folders[:1])
    assert not opened and lines == [f"skipped: r0: {said}"]
    assert folders[0].status().state == "failed" and folders[0].submitted


@pytest.mark.parametrize("accounting", [True, False])
def test_sacct_that_does_not_answer_is_not_taken_for_having_forgotten(
    accounting: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = sent(tmp_path)
    monkeypatch.setattr(looking, "read_accounting", lambda ids: Jobs({}, answered=False))
    queue = Queue(tmp_path, Jobs(cluster="c", accounting=accounting))
    queue.recall(folders)
    job = queue.job_of(folders[0])
    assert job is not None and job.may_live == accounting  # a cluster without it has none to ask
    assert not accounting or "sacct does not respond" in job.reason


@pytest.mark.parametrize(("line", "state"), [
    ("7_0|RUNNING|None|n1|ann|", "UNKNOWN"), ("7_[0-2%2]|PENDING|None||ann|", "UNKNOWN"),
    ("7_0|COMPLETED|None|n1|ann|", "COMPLETED"), ("7_0|COMPLETED|None|n1|bob|", ""),
    ("7_0|COMPLETED|None|n1|ann|fer:other", ""),
])
def test_what_sacct_says_runs_has_not_ended_and_of_a_foreign_job_it_says_nothing(
    line: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = sent(tmp_path)
    monkeypatch.setattr(looking, "read_accounting", lambda ids: Jobs(parse_sacct(line)))
    queue = Queue(tmp_path, Jobs(cluster="c", accounting=True))
    queue.recall(folders)
    job = queue.job_of(folders[0])
    assert job is not None and job.state == state


def test_the_ends_of_jobs_are_read_once_a_submission_and_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, folders = sent(tmp_path, runs=50)
    (submission.folder / "ended.json").write_text('{"7_2": "TIMEOUT"}')
    reads: list[str] = []

    def counted(path: Path) -> object:
        reads.append(path.name)
        return read_object(path)

    monkeypatch.setattr(submissions, "read_object", counted)
    monkeypatch.setattr(looking, "read_accounting", lambda ids: Jobs())
    for looks in (1, 2):
        queue = Queue(tmp_path, Jobs(cluster="c"))
        queue.recall(folders)
        assert [queue.job_of(folder) for folder in folders][2] == Job("7_2", "TIMEOUT", user="ann")
        assert reads.count("ended.json") == looks


def test_the_end_of_a_foreign_job_of_ones_number_is_not_recorded(tmp_path: Path) -> None:
    submission, _ = sent(tmp_path)
    submission.record_ends(Jobs({"7_0": Job("7_0", "FAILED", comment="fer:2"),
                                 "7_1": Job("7_1", "FAILED", comment=submission.comment)},
                                cluster="c"))
    assert submission.ends == {"7_1": "FAILED"}
    submission.record_ends(Jobs({"7_2": Job("7_2", "FAILED")}, cluster="d"))
    assert submission.ends == {"7_1": "FAILED"}


def test_who_may_not_write_still_finds_a_job_by_its_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, _ = sent(tmp_path)
    (submission.folder / "job.json").unlink()
    found = Submission(submission.folder)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(submissions, "write_json", refused)
    assert found.adopt(Jobs({"8_0": Job("8_0", "RUNNING", comment=found.comment, user="bob")},
                            cluster="c")) == "8"
    assert found.identity(0) == JobIdentity("8_0", "c", "bob", found.comment)


def test_a_submission_seen_under_another_path_keeps_its_comment(tmp_path: Path) -> None:
    submission, _ = sent(tmp_path / "here")
    (tmp_path / "there").symlink_to(tmp_path / "here")
    again = Submission(tmp_path / "there" / submission.folder.relative_to(tmp_path / "here"))
    assert again.comment == submission.comment


def test_jobs_of_others_are_not_asked_for_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    others = "".join(f"{number}|bob|x|(null)\n" for number in range(50_000))
    config = {"ClusterName": "c", "PrivateData": "jobs,nodes"}
    says = {slurm.OVERVIEW: f"{others}77|bob|fer-toy|fer:1\n"}

    def answer(command: list[str]) -> str:
        asked.append(command)
        return next((text for key, text in says.items() if key in " ".join(command)), "")

    monkeypatch.setattr(slurm, "ask", answer)
    monkeypatch.setattr(slurm, "cluster_config", lambda: config)
    queue = slurm.read_queue()
    assert queue.answered and queue.cluster == "c" and queue.private and not queue.accounting
    assert "--jobs=77,77" in asked[-1]  # twice: asked for one that is gone alone, squeue fails


def test_a_failure_that_a_foreign_job_of_ones_number_kept_is_not_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    for name, value in (("FER_JOB", "7_0"), ("FER_START", "7_0.0"), ("SLURM_CLUSTER_NAME", "c")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FER_COMMENT", "fer:1")
    keep_failure(folder, "its own", "")
    keep_failure(folder, "of a later rank", "")
    assert kept_failure(folder) == ("its own", "")
    monkeypatch.setenv("FER_COMMENT", "fer:2")
    assert kept_failure(folder) is None
    keep_failure(folder, "of the next", "")
    assert kept_failure(folder) == ("of the next", "")


def test_a_launcher_that_gives_a_run_up_leaves_it_to_who_holds_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    run = SimpleNamespace(id="r0", name="r0")
    store = Store(tmp_path)
    folder = RunFolder(tmp_path / "runs/r0")
    folder.path.mkdir(parents=True)
    monkeypatch.setattr("fer.study.lease.read_queue", lambda: Jobs({}, answered=False))
    work = SimpleNamespace(study=SimpleNamespace(study="toy"))
    launcher = SlurmQueue(store, work, "", Profile(), Console())  # type: ignore[arg-type]
    launcher.attempts["r0"] = 3
    lease_of(folder.path, AWAY, WANTED)
    launcher._give_up_on([SimpleNamespace(run=run)])  # type: ignore[list-item]
    assert folder.status().state == "pending"
    (folder.path / "lease").write_text("")
    launcher._give_up_on([SimpleNamespace(run=run)])  # type: ignore[list-item]
    assert folder.status().state == "failed" and folder.lease.owner() is None


@pytest.mark.parametrize(("state", "asked_for", "ended"), [
    ("RUNNING", 1000.0, True), ("RUNNING", 10.0, False), ("PENDING", 0.0, True)])
def test_a_job_that_ignores_a_stop_is_cancelled_by_the_next_request(
    state: str, asked_for: float, ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, (folder, *_) = sent(tmp_path)
    submission.set_job("7", cluster="c", user=ME)
    monkeypatch.setattr("fer.cluster.cancel.read_queue", lambda: Jobs(
        {"7_0": Job("7_0", state, user=ME, comment=submission.comment)}, cluster="c"))
    called: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: called.append(command))
    (folder.path / "cancel").touch()
    since = time.time() - asked_for
    os.utime(folder.path / "cancel", (since, since))
    request_stop(Store(tmp_path), [row(folder)], "toy")
    assert called == ([["scancel", "7_0"]] if ended else [])


def test_a_job_that_sbatch_sent_to_another_cluster_is_known_by_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sbatch: {clusters: other}`, or a federation: it prints `7;other`."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, answer in (("sbatch", "7;other"), ("scontrol", "ClusterName = here")):
        (tools / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    submission, _ = sent(tmp_path / "home")
    with (tmp_path / "lock").open("w") as lock:
        submission.set_job(sbatch(submission, "profile", lock.fileno()))
    assert (submission.job, submission.noted["cluster"]) == ("7", "other")
    found = Jobs({}, cluster="here").find(submission.identity(0))
    assert found.unknown and "on cluster other" in found.reason  # waited for, not sent again
