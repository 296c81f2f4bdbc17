"""submitit's executors for SLURM and for this machine, as the two queues use them.

submitit gives: sbatch parameters checked by name and rendered, the pickled call and the processes
of a local job. It does not give what a study needs on SLURM: arrays with chosen indices,
`aftercorr`, the comment by which a killed launcher finds its job, and the lock that `sbatch`
inherits. Those are ours, and so are job states (`fer.study.slurm_jobs`): none is read through it.
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
    """Starts one job."""

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Start a job and return its handle; may raise `FailedSubmissionError`."""
        ...


class SlurmExecutor(submitit.SlurmExecutor):
    """Renders batch scripts, and submits one that is on disk already."""

    def __init__(self, folder: Path, lock: int | None = None) -> None:
        """Args:
        folder: any.
        lock: a file descriptor that `sbatch` inherits.
        """
        super().__init__(folder)
        self._inherited = () if lock is None else (lock,)

    def script(self, command: str) -> str:
        """Return the batch script that runs a command with the parameters that were set."""
        return self._make_submission_file_text(command, "")

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Submit a script, given by its path; `FailedSubmissionError` has what `sbatch` said."""
        return self._submit_command(str(*work))

    def map_array(self, *work: Any) -> NoReturn:
        """Refuse: our arrays have chosen indices and dependencies."""
        raise NotImplementedError("arrays are scripts of fer.cluster.sbatch")

    @classmethod
    def affinity(cls) -> int:
        """Return that it works here: a dry run renders scripts where there is no `srun`."""
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
        return str(string).strip().partition(";")[0]  # a federation puts its cluster behind it


class LocalExecutor(submitit.LocalExecutor):
    """Starts the controller and the processes of a job with the path and code of this process."""

    def start(self, *work: Any) -> submitit.Job[Any]:
        """Start a job that calls a function with arguments."""
        return self.submit(*work)

    @property
    def _submitit_command_str(self) -> str:
        return shlex.join(python("-m", "submitit.core._submit", str(self.folder)))

    def _submit_command(self, command: str) -> LocalJob[Any]:
        with safe_children():
            return super()._submit_command(command)
