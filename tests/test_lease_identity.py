"""The lease of a job: judged by the queue of its own cluster only. No daemons."""

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from test_submission import sent

from fer.study.lease import Lease, Owner
from fer.study.run_folder import RunFolder
from fer.study.slurm_jobs import Job, JobIdentity, Jobs

WANTED = JobIdentity("7_0", "c", "ann", "fer:1")
LISTED = Job("7_0", "RUNNING", comment="fer:1", user="ann")


def lease_of(folder: Path, owner: Owner, known: JobIdentity | None = None) -> Lease:
    """Write a lease, and what is noted beside it, where anything is."""
    (folder / "lease").write_text(json.dumps(asdict(owner)))
    if known:
        (folder / "lease.owner.json").write_text(json.dumps({"owners": [{
            "owner": asdict(owner), "cluster": known.cluster, "user": known.user,
            "comment": known.comment}]}))
    return Lease(folder / "lease")


AWAY = Owner("node7", "boot", 5, "1", job="7_0")
GONE = Jobs(cluster="c")


@pytest.mark.parametrize(("known", "queue", "held"), [
    (WANTED, GONE, False),
    (WANTED, Jobs({"7_0": LISTED}, cluster="c"), True),
    (WANTED, Jobs({"7_0": replace(LISTED, comment="fer:2")}, cluster="c"), False),
    (replace(WANTED, cluster="d"), GONE, True),
    (replace(WANTED, cluster="d"), Jobs({"7_0": replace(LISTED, state="FAILED")}, cluster="c"),
     True),
    (None, GONE, True),
    (None, Jobs({"7_0": replace(LISTED, state="COMPLETED")}, cluster="c"), True),
    (WANTED, Jobs({}, answered=False), True),
])
def test_the_queue_of_a_cluster_judges_its_own_jobs_only(
    known: JobIdentity | None, queue: Jobs, held: bool, tmp_path: Path
) -> None:
    assert lease_of(tmp_path, AWAY, known).held(queue) == held


def test_a_live_process_of_this_host_is_never_dead_whatever_squeue_says(tmp_path: Path) -> None:
    here = replace(Owner.myself(), job="7_0")
    assert lease_of(tmp_path, here, WANTED).held(GONE)


def test_a_process_that_the_system_hides_from_others_is_alive(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert replace(Owner.myself(), pid=2**30).alive()
    assert not replace(Owner.myself(), pid=2**30, boot="another").alive()


def test_a_lease_of_old_code_is_known_by_the_submission_of_its_run(tmp_path: Path) -> None:
    _, folders = sent(tmp_path)
    lease_of(folders[0].path, AWAY)
    assert not folders[0].lease.held(GONE)
    lease_of(folders[1].path, AWAY)  # of 7_0, and the run was sent as 7_1
    assert folders[1].lease.held(GONE)


def test_what_is_known_of_a_dead_owner_outlives_the_next_submission(tmp_path: Path) -> None:
    _, folders = sent(tmp_path)
    lease_of(folders[0].path, AWAY)
    folders[0].lease.keep_sender()
    (folders[0].path / "submit.json").unlink()
    assert not RunFolder(folders[0].path).lease.held(GONE)


def test_a_lease_is_as_old_code_reads_it_and_the_owners_job_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FER_JOB", "7_0"), ("SLURM_CLUSTER_NAME", "c"), ("FER_COMMENT", "fer:1"),
                        ("SLURM_JOB_USER", "ann")):
        monkeypatch.setenv(name, value)
    lease = Lease(tmp_path / "lease")
    lease.take()
    content = json.loads((tmp_path / "lease").read_text())
    assert list(content) == ["host", "boot", "pid", "started", "job", "restart"]
    assert lease.job_of(Owner(**content)) == WANTED


def test_a_death_between_note_and_lease_leaves_the_owner_before_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = lease_of(tmp_path, AWAY, WANTED)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fer.study.lease.read_queue", lambda: GONE)
    monkeypatch.setattr("fer.study.lease._write", dies)
    with pytest.raises(KeyboardInterrupt):
        lease.take()
    assert lease.job_of(AWAY) == WANTED
