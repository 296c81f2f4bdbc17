"""One call of `sbatch`: what it means when it fails.

SLURM may refuse a job, may refuse so many jobs, or may not respond, in which case the job may have
been accepted all the same.
"""

import re
import time

from submitit.core.utils import FailedSubmissionError

from fer.cluster.executor import SlurmExecutor
from fer.errors import CallerError
from fer.machine import user_name
from fer.study.slurm_client import SlurmUnavailable, cluster_name, is_passing
from fer.study.slurm_jobs import read_queue
from fer.study.submission import Submission

LIMIT = re.compile(r"Max\w*Submit|MaxJobCount|MaxArray|job submit limit|too many jobs",
                   re.IGNORECASE)
RETRY_S = (2.0, 5.0, 10.0)  # pauses before `sbatch` is called again after a passing error


class Refused(CallerError):
    """SLURM refused a job.

    Attributes:
        limit: whether a limit on the number of jobs may be the reason, so that fewer are accepted,
            or the same later.
    """

    def __init__(self, message: str, limit: bool) -> None:
        super().__init__(message)
        self.limit = limit


def submit_script(submission: Submission, script: str, place: str, lock: int) -> None:
    """Write the script of a new submission, submit it and record the job id.

    Raises:
        Refused, SlurmUnavailable: as `sbatch`.
    """
    submission.folder.mkdir(parents=True, exist_ok=True)
    submission.script.write_text(script, encoding="utf-8")
    submission.set_job(sbatch(submission, place, lock))


def sbatch(submission: Submission, place: str, lock: int) -> str:
    """Submit the script of a submission and return the job id.

    Raises:
        Refused: SLURM refused it; nothing is left of the submission.
        SlurmUnavailable: SLURM does not respond, so the job may have been accepted or not.
    """
    submission.claim(cluster_name(), user_name())
    stderr = ""
    for pause in (*RETRY_S, None):
        try:
            return SlurmExecutor(submission.folder, lock).start(submission.script).job_id
        except FailedSubmissionError as error:
            stderr = str(error)
        if LIMIT.search(stderr):  # certainly not accepted
            break
        # sbatch failed, but SLURM may have accepted the job
        jobs = read_queue()
        taken = [job for job in jobs.with_comment(submission.comment) if job.live]
        if taken:
            return taken[0].id.split("_")[0]
        if jobs.answered and not is_passing(stderr):
            break
        if pause is None:
            raise SlurmUnavailable(f"profile {place}: sbatch: {_first_error(stderr)}")
        time.sleep(pause)
    refused = submission.discard()
    raise Refused(f"profile {place}: sbatch refused {refused}: {_first_error(stderr)}",
                  bool(LIMIT.search(stderr)))


def _first_error(stderr: str) -> str:
    found = [line.removeprefix("sbatch: error: ") for line in stderr.splitlines()
             if line.startswith("sbatch: error")]
    return "; ".join(found) or stderr
