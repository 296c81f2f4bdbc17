"""One job on this machine: submitit starts it, in a folder that is private to its user.

Which runs a job has, and what follows when it ends, is `fer.cluster.local_queue`. What submitit
carries to the job's process are plain values: submitting imports no torch.
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
from fer.locks import user_called
from fer.study.expand import Run
from fer.study.run_folder import Status

NO_TIME_LIMIT = 60 * 24 * 365  # minutes
TAIL_LINES = 60  # of a log: a traceback through runpy and torch has about forty
LAUNCHER_ONLY = (signal.SIGINT, signal.SIGHUP)  # what a terminal sends to all its processes


@dataclass(frozen=True, eq=False)
class LocalJob:
    """A job in a slot.

    Attributes:
        before: what the runs said of themselves when it was started.
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
        """Where the output of its first rank is."""
        return self.job.paths.stdout

    @property
    def ended_well(self) -> bool:
        """Whether it came to the end of its runs; each has said what became of it."""
        with suppress(OSError, EOFError, pickle.UnpicklingError), \
                open(self.job.paths.result_pickle, "rb") as handle:
            return bool(pickle.load(handle)[0] == "success")
        return False

    def tail(self) -> str:
        """Return the end of its log, which is its traceback where it had the time for one."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(lines[-TAIL_LINES:]) or f"nothing is in its log, {self.log}"

    def ask_to_leave(self) -> None:
        """Have its ranks save and leave. To be repeated: a process that begins may not hear it."""
        with suppress(ProcessLookupError):
            os.kill(int(self.job.job_id), signal.SIGTERM)  # its controller hands it on

    def kill(self) -> None:
        """End all its processes at once."""
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
        gpus: those that its processes see.
        port: at which several ranks find each other.

    Raises:
        CallerError: the folder is not this user's alone.
    """
    make_private(folder)
    executor = LocalExecutor(folder=folder)
    gpu = {"gpus_per_node": len(gpus), "visible_gpus": tuple(gpus)} if gpus else {}
    executor.update_parameters(timeout_min=NO_TIME_LIMIT, stderr_to_stdout=True,
                               tasks_per_node=ranks, **gpu)
    # its processes inherit the mask: Ctrl-C is the launcher's, which asks them to save and leave
    before = signal.pthread_sigmask(signal.SIG_BLOCK, LAUNCHER_ONLY)
    try:
        job = executor.start(run_tasks, tasks, port)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for stale in folder.glob(f"{job.job_id}_*_result.pkl"):  # of a job that had this process id
        stale.unlink()
    return job


def make_private(folder: Path) -> None:
    """Make a folder that nobody else can enter.

    What lies there is run by who finds it: a pickle is code.

    Raises:
        CallerError: there is something else, or it is another's, or open to others.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found, me = os.lstat(folder), os.geteuid()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == me and not found.st_mode & 0o077:
        return
    raise CallerError(f"{folder}: jobs find their code there, so it has to be a folder of "
                      f"{user_called(me)} alone (mode 700); this is {user_called(found.st_uid)}'s, "
                      f"{stat.filemode(found.st_mode)}: move it away")


def run_tasks(tasks: Sequence[Mapping[str, Any]], port: int = 0) -> list[str]:
    """Work on run folders one after another; returns an outcome each (see `fer.train.worker.work`).

    Asked to end (SIGTERM), it saves and leaves.

    Args:
        tasks: each with `folder` (path), `evaluate` ({split: digest}) and `data` (the data sets
            as a plain tree).
        port: of loopback, at which several ranks find each other.
    """
    # imported here: this function is submitted from the login node, which does not pay for torch
    import os
    from pathlib import Path

    import submitit

    from fer.cluster.dist_env import local_ranks
    from fer.cluster.worker import StopFlag
    from fer.config.run import Data

    stop = StopFlag()  # in place before the long imports begin
    job = submitit.JobEnvironment()
    os.environ.update(local_ranks(job.global_rank, job.num_tasks, port))
    os.environ["FER_START"] = f"local-{job.job_id}"
    from fer.train.callbacks import Callbacks
    from fer.train.worker import Task, work

    return work([Task(Path(task["folder"]), task["evaluate"], Data.model_validate(task["data"]))
                 for task in tasks], Callbacks(stop_requested=stop))
