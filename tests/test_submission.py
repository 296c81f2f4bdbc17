"""What was handed to SLURM, and what is remembered of it when SLURM has forgotten."""

import json
from pathlib import Path

import pytest

from fer.config.run import Data
from fer.study import queue_view as looking
from fer.study.queue_view import Queue
from fer.study.run_folder import RunFolder
from fer.study.slurm_jobs import FIELDS, NEVER_SATISFIED, Job, Jobs
from fer.study.submission import Submission


def sent(home: Path, runs: int = 3) -> tuple[Submission, list[RunFolder]]:
    """A submission of some runs as array job 7."""
    submission = Submission(home / "studies/toy/slurm/001")
    submission.folder.mkdir(parents=True)
    folders = [RunFolder(home / f"runs/r{index}") for index in range(runs)]
    (submission.folder / "jobs.json").write_text(json.dumps({
        "schema": 1, "data": Data().model_dump(mode="json"), "splits": {},
        "jobs": {index: [[folder.name, []]] for index, folder in enumerate(folders)}}))
    for index, folder in enumerate(folders):
        folder.path.mkdir(parents=True)
        (folder.path / "submit.json").write_text(json.dumps(
            {"submission": "studies/toy/slurm/001", "index": index}))
    submission.set_job("7", cluster="c", user="ann")
    return submission, folders


def test_the_comment_of_a_submission_is_not_cut_by_squeue() -> None:
    folder = Path("/a" * 200) / ("study" * 30) / "slurm" / "0123-report"
    assert len(Submission(folder).comment) < FIELDS["Comment"]


def test_a_child_whose_parent_failed_is_not_remembered_as_cancelled(tmp_path: Path) -> None:
    submission, _ = sent(tmp_path)
    submission.record_ends(Jobs({
        "7_0": Job("7_0", "FAILED"), "7_1": Job("7_1", "CANCELLED", "None"),
        "7_2": Job("7_2", "CANCELLED", NEVER_SATISFIED)}, cluster="c"))
    assert submission.ends == {"7_0": "FAILED", "7_1": "CANCELLED"}


def test_accounting_is_asked_once_for_all_jobs_that_the_queue_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, folders = sent(tmp_path)
    asked: list[set[str]] = []

    def accounting(ids: set[str]) -> Jobs:
        asked.append(set(ids))
        return Jobs({"7_1": Job("7_1", "CANCELLED", "None")})

    monkeypatch.setattr(looking, "read_accounting", accounting)
    (submission.folder / "ended.json").write_text('{"7_2": "TIMEOUT"}')
    queue = Queue(tmp_path, Jobs({"7_0": Job("7_0", "RUNNING")}, cluster="c"))
    queue.recall(folders)
    assert asked == [{"7_1"}]
    found = [queue.job_of(folder) for folder in folders]
    assert [job.state for job in found if job] == ["RUNNING", "CANCELLED", "TIMEOUT"]


def test_the_id_of_a_job_is_read_once(tmp_path: Path) -> None:
    submission, _ = sent(tmp_path)
    again = Submission(submission.folder)
    assert again.job == "7"
    (submission.folder / "job.json").unlink()
    assert again.job == "7" and Submission(submission.folder).job == ""


def test_without_the_list_of_its_jobs_a_run_is_the_first_tasks(tmp_path: Path) -> None:
    assert Submission(tmp_path / "studies/s/slurm/001").rank_of(0, "a-run") == 0
