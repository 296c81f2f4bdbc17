"""The queue of this machine, with real processes of submitit that do small work, not training.

What they do is a function that is pickled, so that no job has to import torch.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from fer.cluster import local_job
from fer.cluster.local_queue import LocalQueue, Slots
from fer.config.load import load_study
from fer.config.run import RunConfig
from fer.errors import CallerError, Interrupted
from fer.study.expand import Run, expand
from fer.study.lease import Lease
from fer.study.plan import Step
from fer.study.run_folder import Store
from fer.study.run_records import Status

Work = Callable[[list[dict[str, Any]], int], list[str]]


def digests(config: RunConfig) -> dict[str, str]:
    """Return digests without data: a function of the names of the splits."""
    return {f"{name}/{part}": f"{name}-{part}" for name in config.train_sets
            for part in ("train", "val")}


def runs_of(seeds: int, **more: object) -> list[Run]:
    study = load_study("sweeps/demo.yaml", {
        "grid.backbone": ["cbam_tiny"], "grid.recipe": ["scratch"], "grid.train_on": ["lfw"],
        "grid.seed": list(range(seeds)), "exclude": [], **more})
    return expand(study, digests)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LocalQueue]:
    """Return a function that makes a queue whose jobs do a work of the test's."""
    def make(work: Work, runs: list[Run], slots: int = 1, together: int = 1,
             show: Callable[[list[Step]], None] = lambda steps: None) -> LocalQueue:
        monkeypatch.setattr(local_job, "run_tasks", work)
        return LocalQueue(Store(tmp_path), runs, {}, runs[0].config.data, tmp_path / "jobs/me",
                          Slots(slots), together, show)

    return make


def works(poison: str = "", how: str = "kill", note: Path | None = None) -> Work:
    """Return work that trains each run at once, but ends its process when it comes to one.

    Args:
        poison: part of that run's name.
        how: `kill`; `raise`; `begin` says that the run is running, and kills.
        note: a file that gets a line with the runs of each job.
    """
    def work(tasks: list[dict[str, Any]], port: int = 0) -> list[str]:
        import os
        import pathlib
        import signal

        names = [pathlib.Path(task["folder"]).name for task in tasks]
        if note is not None:
            with open(note, "a") as handle:
                handle.write(" ".join(names) + "\n")
        for task in tasks:
            folder = pathlib.Path(task["folder"])
            if poison and poison in folder.name:
                if how == "raise":
                    raise OSError("no room for torch")
                if how == "begin":
                    said = f'{{"state": "running", "heartbeat": {os.getpid()}}}'
                    (folder / "status.json").write_text(said)
                os.kill(os.getpid(), signal.SIGKILL)
            (folder / "train.json").write_text("{}")
        return ["done"] * len(tasks)

    return work


@pytest.mark.parametrize("how", ["kill", "raise", "begin"])
def test_a_run_that_takes_its_job_down_fails_alone_among_six_after_three_attempts(
    how: str, queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    note = tmp_path / "jobs.txt"
    runs = runs_of(6)
    steps = queue(works("-s2-", how, note), runs, together=6).work()
    assert [step.action for step in steps] == ["done", "done", "failed", "done", "done", "done"]
    tried = [line.split() for line in note.read_text().splitlines()]
    assert sum("-s2-" in name for names in tried for name in names) == 3
    assert [len(names) for names in tried if any("-s2-" in n for n in names)] == [6, 1, 1]


def test_a_run_that_never_begins_fails_with_the_traceback_of_its_job(
    queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    (run,) = runs_of(1)
    queue(works("-s0-", "raise"), [run]).work()
    status = Store(tmp_path).folder(run).status()
    assert "3 times" in status.error and "before the run began" in status.error
    assert "Traceback" in status.traceback and "no room for torch" in status.traceback


def test_a_job_that_leaves_no_log_fails_its_run_all_the_same(
    queue: Callable[..., LocalQueue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of a job, submitit's controller too, is killed as it begins."""
    monkeypatch.setenv("PYTHONPATH", f"{REPOSITORY / 'tests/inject'}:{REPOSITORY}")
    monkeypatch.setenv("FER_INJECT", "die")
    (run,) = runs_of(1)
    (step,) = queue(works(), [run]).work()
    assert step.action == "failed"
    assert "its log is empty" in Store(tmp_path).folder(run).status().traceback


def test_a_run_whose_lease_cannot_be_written_fails_and_the_others_do_not(
    queue: Callable[..., LocalQueue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = runs_of(2)
    poisoned = Store(tmp_path).folder(runs[0])

    def take(lease: Lease) -> None:
        raise CallerError(f"{lease.path}: is another's")

    monkeypatch.setattr(Lease, "take", take)
    steps = queue(works("-s0-", "raise"), runs).work()
    assert [step.action for step in steps] == ["failed", "done"]
    assert poisoned.status().state == "failed"


def test_a_run_that_said_running_long_ago_is_not_what_took_this_job_down(
    queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    runs = runs_of(2)
    left = Store(tmp_path).folder(runs[1])
    left.path.mkdir(parents=True)
    left.write_status(Status(state="running", step=7))  # of a launcher that was killed
    steps = queue(works("-s0-"), runs, together=2).work()
    assert [step.action for step in steps] == ["failed", "done"]


def test_a_result_of_an_earlier_job_with_this_process_id_is_not_taken_for_its_own(
    queue: Callable[..., LocalQueue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "jobs/me"
    folder.mkdir(parents=True, mode=0o700)
    started = local_job.submitit.LocalExecutor.submit

    def submit(self: Any, *arguments: Any) -> Any:
        job = started(self, *arguments)
        import pickle

        (folder / f"{job.job_id}_0_result.pkl").write_bytes(pickle.dumps(("success", ["done"])))
        return job

    monkeypatch.setattr(local_job.submitit.LocalExecutor, "submit", submit)
    (step,) = queue(works("-s0-"), runs_of(1)).work()
    assert step.action == "failed"


def waits(folder: Path, deaf: bool = False) -> Work:
    """Return work that says it is there, and ends when it is asked to, unless it is deaf."""
    def work(tasks: list[dict[str, Any]], port: int = 0) -> list[str]:
        import os
        import signal
        import time

        asked: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        (folder / f"pid-{os.getpid()}").touch()
        while deaf or not asked:
            time.sleep(0.02)
        (folder / f"left-{os.getpid()}").touch()
        return ["preempted"]

    return work


def once(folder: Path, pattern: str, then: Callable[[], None]) -> threading.Thread:
    """Do something as soon as there is a file of that name."""
    def watch() -> None:
        while not list(folder.glob(pattern)):
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_has_the_jobs_save_and_leave_before_the_launcher_ends(
    number: signal.Signals, queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    before = signal.getsignal(number)
    watcher = once(tmp_path, "pid-*", lambda: os.kill(os.getpid(), number))
    with pytest.raises(Interrupted) as ended:
        queue(waits(tmp_path), runs_of(1)).work()
    watcher.join()
    assert ended.value.number == number
    (pid,) = (int(path.name[4:]) for path in tmp_path.glob("pid-*"))
    assert (tmp_path / f"left-{pid}").exists() and gone(pid)
    assert signal.getsignal(number) is before


def test_a_second_interruption_kills_jobs_that_do_not_leave(
    queue: Callable[..., LocalQueue], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        while "save and exit" not in capfd.readouterr().err:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = once(tmp_path, "pid-*", twice)
    with pytest.raises(Interrupted):
        queue(waits(tmp_path, deaf=True), runs_of(1)).work()
    watcher.join()
    (pid,) = (int(path.name[4:]) for path in tmp_path.glob("pid-*"))
    assert gone(pid)


def test_a_hang_up_does_not_end_a_launcher_under_nohup(
    queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        watcher = once(tmp_path, "runs/*/submit.json", lambda: os.kill(os.getpid(), signal.SIGHUP))
        (step,) = queue(works(), runs_of(1)).work()
        watcher.join()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert step.action == "done"


def test_the_jobs_leave_when_the_launcher_fails(
    queue: Callable[..., LocalQueue], tmp_path: Path
) -> None:
    def show(steps: list[Step]) -> None:
        if list(tmp_path.glob("pid-*")):
            raise OSError(5, "the terminal hung up")

    with pytest.raises(OSError, match="hung up"):
        queue(waits(tmp_path), runs_of(1), show=show).work()
    assert len(list(tmp_path.glob("left-*"))) == 1


@pytest.fixture
def worker() -> Iterator[Callable[[Path], None]]:
    """Return a function that has another live process take a lease."""
    processes = []

    def take(lease: Path) -> None:
        script = ("import sys, time; from pathlib import Path; from fer.study.lease import Lease; "
                  "Lease(Path(sys.argv[1])).take(); print('taken', flush=True); time.sleep(600)")
        processes.append(subprocess.Popen([sys.executable, "-c", script, str(lease)],
                                          stdout=subprocess.PIPE, text=True, cwd=REPOSITORY))
        assert processes[-1].stdout.readline() == "taken\n"

    yield take
    for process in processes:
        process.kill()
        process.wait()


def test_a_job_of_another_is_waited_for_and_its_end_is_seen(
    queue: Callable[..., LocalQueue], tmp_path: Path, worker: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fer.cluster.local_poll.LONGEST_PAUSE", 0.5)
    store, (run,) = Store(tmp_path), runs_of(1)
    folder = store.folder(run)
    folder.path.mkdir(parents=True)
    worker(folder.path / "lease")
    shown = []

    def show(steps: list[Step]) -> None:
        shown.append(steps[0].action)
        if len(shown) == 3:
            (folder.path / "train.json").write_text("{}")

    queue(works(), [run], show=show).work()
    assert shown[0] == "running" and shown[-1] == "done"
    assert not (folder.path / "submit.json").exists()
