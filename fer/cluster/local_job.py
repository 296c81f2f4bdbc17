"""One job on this machine, started by submitit in a folder private to its user.

`fer.cluster.local_queue` chooses a job's runs and handles its end. submitit passes plain values to
the job's process, so submitting does not import torch.
"""

import os
import pickle
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import submitit

from fer.cluster.executor import LocalExecutor
from fer.errors import CallerError
from fer.machine import user_label
from fer.study.expand import Run
from fer.study.run_records import Status

NO_TIME_LIMIT = 60 * 24 * 365  # minutes
HANG_S = "600"  # see `fer.train.watchdog`
TAIL_LINES = 60  # of a log: a traceback through runpy and torch has about forty
LAUNCHER_ONLY = (signal.SIGINT, signal.SIGHUP)  # a terminal sends these to all its processes


@dataclass(frozen=True, eq=False)
class LocalJob:
    """A job in a slot.

    Attributes:
        before: statuses of the runs when it was started.
    """

    job: submitit.Job[list[str]]
    slot: int
    runs: list[Run]
    before: dict[str, Status]

    @property
    def over(self) -> bool:
        """Whether its processes have ended."""
        return self.job.done()

    @property
    def log(self) -> Path:
        """Path of the output of rank 0."""
        return self.job.paths.stdout

    @property
    def ended_well(self) -> bool:
        """Whether it processed all its runs; each has its own status."""
        with suppress(OSError, EOFError, pickle.UnpicklingError), \
                open(self.job.paths.result_pickle, "rb") as handle:
            return bool(pickle.load(handle)[0] == "success")
        return False

    def tail(self) -> str:
        """Return the end of its log, with the traceback if there is one."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(lines[-TAIL_LINES:]) or f"its log is empty: {self.log}"

    def ask_to_leave(self) -> None:
        """Request its ranks to save and exit; to be repeated, as a new process may miss it."""
        with suppress(ProcessLookupError):
            os.kill(int(self.job.job_id), signal.SIGTERM)  # its controller forwards it

    def kill(self) -> None:
        """Kill all its processes."""
        with suppress(psutil.NoSuchProcess):
            controller = psutil.Process(int(self.job.job_id))
            for process in [*controller.children(recursive=True), controller]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def tidy(self) -> None:
        """Keep its log and remove its pickles."""
        results = self.job.paths.folder.glob(f"{self.job.job_id}_*_result.pkl")
        for path in (self.job.paths.submitted_pickle, *results):
            path.unlink(missing_ok=True)


def start_job(folder: Path, tasks: Sequence[Mapping[str, Any]], ranks: int, gpus: Sequence[int],
              port: int) -> submitit.Job[list[str]]:
    """Start a job of `ranks` processes that does `tasks` (`fer.cluster.local_job.run_tasks`).

    Args:
        folder: for its pickles and logs; made private to this user.
        gpus: GPUs visible to its processes.
        port: rendezvous port of several ranks.

    Raises:
        CallerError: the folder is not private to this user.
    """
    make_private(folder)
    executor = LocalExecutor(folder=folder)
    gpu = {"gpus_per_node": len(gpus), "visible_gpus": tuple(gpus)} if gpus else {}
    executor.update_parameters(timeout_min=NO_TIME_LIMIT, stderr_to_stdout=True,
                               tasks_per_node=ranks, **gpu)
    # its processes inherit the mask: the launcher handles Ctrl-C and requests save and exit
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LAUNCHER_ONLY)
    try:
        job = executor.start(run_tasks, tasks, port)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for stale in folder.glob(f"{job.job_id}_*_result.pkl"):  # of a job with the same process id
        stale.unlink()
    return job


def make_private(folder: Path) -> None:
    """Create a folder that only this user can enter, because loading a pickle runs code.

    Raises:
        CallerError: it is not a folder, or another user's, or open to others.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found, me = os.lstat(folder), os.geteuid()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == me and not found.st_mode & 0o077:
        return
    raise CallerError(f"{folder}: jobs load their code from there, so it must be a folder private "
                      f"to {user_label(me)} (mode 700); it belongs to {user_label(found.st_uid)} "
                      f"({stat.filemode(found.st_mode)}): move it away")


def run_tasks(tasks: Sequence[Mapping[str, Any]], port: int = 0) -> list[str]:
    """Process run folders in sequence; return their outcomes (see `fer.train.run_tasks.work`).

    On SIGTERM it saves and exits.

    Args:
        tasks: each with `folder` (path), `evaluate` ({split: digest}) and `data` (the data sets
            as a plain tree).
        port: rendezvous port of several ranks, on loopback.
    """
    # imported here, so that submitting this function does not import torch
    import os
    from pathlib import Path

    import submitit

    from fer.cluster.dist_env import local_ranks, set_ranks
    from fer.cluster.local_job import HANG_S
    from fer.cluster.worker import StopFlag
    from fer.config.run import Data
    from fer.study.run_folder import RunFolder

    stop = StopFlag()  # installed before the slow imports
    job = submitit.JobEnvironment()
    os.environ.setdefault("FER_HANG_S", HANG_S)
    set_ranks(local_ranks(job.global_rank, job.num_tasks, port))
    os.environ["FER_START"] = f"local-{job.job_id}"
    from fer.train.callbacks import Callbacks
    from fer.train.run_tasks import Task, work
    from fer.train.watchdog import watched

    folders = [RunFolder(Path(task["folder"])) for task in tasks]
    return work([Task(folder.path, task["evaluate"], Data.model_validate(task["data"]))
                 for folder, task in zip(folders, tasks, strict=True)],
                Callbacks(stop_requested=watched(stop, folders)))
