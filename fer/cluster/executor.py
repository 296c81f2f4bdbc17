"""submitit's executors for SLURM and for this machine, as the two queues use them.

submitit checks and renders sbatch parameters, pickles calls and starts the processes of a local
job. It lacks what a study needs on SLURM: arrays with chosen indices, `aftercorr`, the comment by
which a killed launcher's job is found, and the lock that `sbatch` inherits. These are implemented
here; job states are read in `fer.study.slurm_jobs`, never through submitit.
"""

import shlex
import subprocess
from pathlib import Path
from typing import Any, NoReturn, Protocol

import submitit
from submitit.core.utils import FailedSubmissionError
from submitit.local.local import LocalJob

from fer.cluster.dist_env import outside_job
from fer.safe_path import python, safe_children


class Executor(Protocol):
    """Interface for starting one job."""

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Start a job and return its handle; may raise `FailedSubmissionError`."""
        ...


class SlurmExecutor(submitit.SlurmExecutor):
    """Executor that renders batch scripts and submits existing ones."""

    def __init__(self, folder: Path, lock: int | None = None) -> None:
        """Args:
        folder: any folder.
        lock: a file descriptor that `sbatch` inherits.
        """
        super().__init__(folder)
        self._inherited = () if lock is None else (lock,)

    def script(self, command: str) -> str:
        """Return the batch script that runs a command with the current parameters."""
        return self._make_submission_file_text(command, "")

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Submit a script, given by its path; `FailedSubmissionError` has the output of `sbatch`.
        """
        return self._submit_command(str(*work))

    def map_array(self, *work: Any) -> NoReturn:
        """Raise: arrays here have chosen indices and dependencies."""
        raise TypeError("arrays are scripts of fer.cluster.sbatch")

    @classmethod
    def affinity(cls) -> int:
        """Return a high affinity: a dry run renders scripts even without `srun`."""
        return 2

    def _submit_command(self, command: str) -> submitit.Job[Any]:
        done = subprocess.run(self._make_submission_command(Path(command)), capture_output=True,
                              text=True, env=outside_job(), pass_fds=self._inherited)
        if done.returncode:
            raise FailedSubmissionError(done.stderr.strip() or f"exit code {done.returncode}")
        return self.job_class(self.folder, self._get_job_id_from_submission_command(done.stdout))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["sbatch", "--parsable", str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        return str(string).strip()  # `7`, or `7;cluster` in a federation, as `Submission.set_job`


class LocalExecutor(submitit.LocalExecutor):
    """Executor that starts local jobs with the path and code of this process."""

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Start a job that calls a function with arguments."""
        return self.submit(*work)

    @property
    def _submitit_command_str(self) -> str:
        return shlex.join(python("-m", "submitit.core._submit", str(self.folder)))

    def _submit_command(self, command: str) -> LocalJob[Any]:
        with safe_children():
            return super()._submit_command(command)
