"""The status table while things change under it: late ends, other clocks, colleagues."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
from test_lease_identity import lease_of
from test_submission import sent

from fer.cluster.cancel import request_stop
from fer.config.run import Data
from fer.study import queue_view as looking
from fer.study.lease import Owner
from fer.study.run_folder import RunFolder, Store
from fer.study.run_records import Status
from fer.study.slurm_jobs import JobIdentity, Jobs
from fer.study.status import rows_of
from fer.study.study_folder import Entry, StudyFolder


def study_of(home: Path, folders: list[RunFolder]) -> StudyFolder:
    from fer.config.load import load_study

    (home / "studies/toy").mkdir(parents=True, exist_ok=True)
    entries = [Entry(folder.name, folder.name, "", "", "", "", 0, {}, True, [])
               for folder in folders]
    return StudyFolder(home / "studies/toy", load_study("sweeps/demo.yaml"), Data(), entries)


@pytest.mark.parametrize("said", ["done", "failed"])
def test_a_run_that_ended_while_slurm_was_asked_does_not_look_lost(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = sent(tmp_path, runs=1)
    folders[0].write_status(Status(state="running", heartbeat=1.0))

    def asked() -> Jobs:
        folders[0].write_status(Status(state=said))  # type: ignore[arg-type]
        return Jobs(cluster="c")

    monkeypatch.setattr(looking, "read_queue", asked)
    (shown,) = rows_of(study_of(tmp_path, folders), Store(tmp_path))
    assert shown.state == said


def test_a_run_submitted_while_slurm_was_asked_does_not_look_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folders = sent(tmp_path, runs=1)

    def asked() -> Jobs:
        (folders[0].path / "submit.json").write_text(json.dumps(
            {"submission": "studies/toy/slurm/002", "index": 0}))
        return Jobs(cluster="c")

    monkeypatch.setattr(looking, "read_queue", asked)
    (shown,) = rows_of(study_of(tmp_path, folders), Store(tmp_path))
    assert (shown.state, shown.note) == ("queued", "just submitted")


@pytest.mark.parametrize(("ahead", "age"), [(7200, 60.0), (-7200, 60.0), (0, 60.0)])
def test_the_age_of_a_heartbeat_is_by_the_disks_clock_whatever_the_nodes_says(
    ahead: float, age: float, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "runs/r0")
    folder.path.mkdir(parents=True)
    folder.lease.take()
    folder.write_status(Status(state="running", heartbeat=time.time() + ahead))
    os.utime(folder.path / "status.json", (1e9, 1e9))
    (shown,) = rows_of(study_of(tmp_path, [folder]), Store(tmp_path), now=1e9 + 60)
    assert shown.heartbeat_age == age
    (shown,) = rows_of(study_of(tmp_path, [folder]), Store(tmp_path), now=1e9 - 7200)
    assert shown.heartbeat_age is None  # never below nought


def test_the_disk_is_asked_for_its_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "runs/r0")
    folder.path.mkdir(parents=True)
    folder.lease.take()
    folder.write_status(Status(state="running", heartbeat=1.0))
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's clock is decades behind
    (shown,) = rows_of(study_of(tmp_path, [folder]), Store(tmp_path))
    assert shown.heartbeat_age is not None and 0 <= shown.heartbeat_age < 60


def test_a_colleague_who_works_on_a_run_here_is_named_and_not_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "runs/r0")
    folder.path.mkdir(parents=True)
    folder.write_status(Status(state="running", heartbeat=1.0))
    lease_of(folder.path, Owner.myself(), JobIdentity("", user="bob"))
    monkeypatch.setattr("fer.cluster.cancel.read_queue", lambda: Jobs({}, answered=False))
    (shown,) = rows_of(study_of(tmp_path, [folder]), Store(tmp_path))
    assert (shown.state, shown.owner) == ("running", "bob")
    names, others = request_stop(Store(tmp_path), [shown], "toy")
    assert not names and not folder.cancel_asked
    assert others == [f"skipped: r0: bob works on it (process {os.getpid()} on "
                      f"{socket.gethostname()}); ask bob to run: python launch/status.py toy "
                      "--cancel 'r0'"]
