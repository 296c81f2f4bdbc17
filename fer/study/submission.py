"""Jobs submitted to SLURM: one folder per job, `studies/<study>/slurm/<number>/`.

The launcher writes `jobs.json` before it calls `sbatch`, and `job.json` with the job id after. If
it dies in between, the next one finds the job by its comment. `job.json` also records cluster and
user, before the call, because an id alone is ambiguous. Run folders store their submission and
index, so a thousand runs share one small file. Not for making scripts or calling `sbatch`
(`fer.cluster`).
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from fer.atomic_io import write_json
from fer.config.load import dump
from fer.config.run import Data
from fer.config.validate import validate
from fer.errors import CallerError
from fer.study.plan import Step
from fer.study.slurm_jobs import NEVER_SATISFIED, JobIdentity, Jobs
from fer.untrusted_io import NotRegular, plain_name, read_json, read_object, record

SCHEMA = 1
MARKER = "finished-{index}-{lane}"  # of a task; the batch script counts them
SCRIPTS = "slurm"  # folder of a study for scripts, logs and the code


@dataclass(frozen=True)
class Work:
    """Work of one array job: runs in sequence, each with its evaluations.

    Attributes:
        runs: (folder name below `runs/`, splits to evaluate on).
        splits: `{split: content digest}` of all of them.
        data: the data sets of the splits.
        lanes: number of tasks side by side; task i has every so manieth run from the i-th on.
    """

    runs: tuple[tuple[str, tuple[str, ...]], ...]
    splits: Mapping[str, str]
    data: Data
    lanes: int = 1


@dataclass(frozen=True)
class _Noted:
    """Content of `job.json`; older versions wrote no more than the id."""

    job: str = ""
    cluster: str = ""
    user: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9]*", self.job):
            raise ValueError("the id of a job is a number")


@dataclass(frozen=True)
class _Content:
    """Content of `jobs.json`; `jobs` is index -> [[name of a run folder, [splits]]]."""

    schema: int
    data: dict[str, Any]
    splits: dict[str, str]
    jobs: dict[str, list[list[Any]]]
    lanes: int = 1

    def __post_init__(self) -> None:
        if self.schema != SCHEMA or self.lanes < 1:
            raise ValueError(f"schema {self.schema}, {self.lanes} lanes")
        for split in self.splits:
            for part in split.split("/"):
                plain_name(part)  # predictions are written to that place
        for index, runs in self.jobs.items():
            if not re.fullmatch("[0-9]{1,9}", index):
                raise ValueError("an index that is no number")
            for name, splits in runs:
                plain_name(name)
                if not isinstance(splits, list) or not {*splits} <= self.splits.keys():
                    raise ValueError("a split without a digest")


def next_number(scripts: Path) -> int:
    """Return the number of the next submission of a study; `scripts` is its folder `slurm/`."""
    numbers = [int(path.name.split("-")[0]) for path in scripts.glob("[0-9]*")
               if re.fullmatch("[0-9]{1,9}(-.*)?", path.name)]
    return max(numbers, default=0) + 1


class Submission:
    """The folder of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noted: dict[str, str] = {}  # an id is constant, and a thousand runs ask for it

    @property
    def comment(self) -> str:
        """The job's comment, derived from the folder's path as the launcher sees it."""
        if noted := self.noted.get("comment"):
            return noted
        place = xxhash.xxh3_64_hexdigest(str(self.folder).encode())
        return f"fer:{self.folder.name}:{place}"  # short: squeue truncates long comments

    @property
    def script(self) -> Path:
        """Path of the submitted batch script."""
        return self.folder / "script.sh"

    def write(self, work: Mapping[int, Sequence[Step]], folder_names: Mapping[str, str],
              splits: Mapping[str, str], data: Data, script: str, lanes: int = 1) -> None:
        """Write the jobs' input durably, before submission.

        Args:
            work: array index -> steps of that job.
            folder_names: run id -> name of its folder.
            lanes: tasks of a job side by side.
        """
        self.folder.mkdir(parents=True)
        self.script.write_text(script, encoding="utf-8")
        write_json(self.folder / "jobs.json", {
            "schema": SCHEMA, "data": dump(data), "splits": dict(splits),
            **({"lanes": lanes} if lanes > 1 else {}),
            "jobs": {index: [[folder_names[step.run.id], list(step.evaluate)] for step in steps]
                     for index, steps in work.items()}}, durable=True)

    def discard(self) -> Path:
        """Remove the folder of a refused submission; return its script, kept beside it."""
        kept = self.folder.parent / "refused.sh"
        os.replace(self.script, kept)
        shutil.rmtree(self.folder)
        return kept

    def work_of(self, index: int) -> Work:
        """Return the work of job number `index`.

        Raises:
            FileNotFoundError: the list of the jobs was removed.
            CallerError: it is damaged, written by another version, or has no such job.
        """
        content, file = self._content, self.folder / "jobs.json"
        if str(index) not in content.jobs:
            raise CallerError(f"{file}: has no job {index}")
        runs = tuple((name, tuple(splits)) for name, splits in content.jobs[str(index)])
        return Work(runs, content.splits, validate(Data, content.data, str(file)), content.lanes)

    @cached_property
    def _content(self) -> _Content:
        file = self.folder / "jobs.json"
        try:
            return record(_Content, read_json(file))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError):
            raise CallerError(f"{file}: damaged or written by another version") from None

    @property
    def listed(self) -> Mapping[str, list[list[Any]]]:
        """Index of each job -> its runs, as in `jobs.json`; empty if that is gone or damaged."""
        with suppress(FileNotFoundError, CallerError):
            return self._content.jobs
        return {}

    @property
    def indices(self) -> list[int]:
        """Indices of the array's jobs, as far as known."""
        return [int(index) for index in self.listed]

    def claim(self, cluster: str, user: str) -> None:
        """Record user and cluster before submission, for launchers on other clusters."""
        self._note({"job": "", "cluster": cluster, "user": user})

    def set_job(self, job_id: str, **facts: str) -> None:
        """Record the id that SLURM gave to the job.

        Args:
            job_id: as `sbatch --parsable` prints it: `7`, or `7;cluster`.
            facts: `cluster` and `user`, if now known better.
        """
        job_id, _, cluster = job_id.partition(";")
        if cluster:
            facts["cluster"] = cluster
        self._note({**self.noted, **facts, "job": job_id})

    def _note(self, facts: dict[str, str]) -> None:
        self._noted = {key: value for key, value in {"comment": self.comment, **facts}.items()
                       if value or key == "job"}
        write_json(self.folder / "job.json", self._noted, durable=True)

    @property
    def noted(self) -> Mapping[str, str]:
        """Record of the job: `job` (its id), `cluster`, `user`, `comment`."""
        if not self._noted.get("job"):
            # if damaged, the job is found by its comment, as if the launcher had died before
            with suppress(FileNotFoundError, NotRegular, ValueError):
                found = asdict(record(_Noted, read_object(self.folder / "job.json")))
                self._noted = {key: value for key, value in found.items() if value}
        return self._noted

    @property
    def job(self) -> str:
        """The array's job id; empty if no submission is known."""
        return self.noted.get("job", "")

    def identity(self, index: int | None = None) -> JobIdentity:
        """Return the identity of the job, or of one index of an array."""
        job_id = self.job if index is None or not self.job else f"{self.job}_{index}"
        return JobIdentity(job_id, self.noted.get("cluster", ""), self.noted.get("user", ""),
                           self.comment)

    def adopt(self, jobs: Jobs) -> str:
        """Return the array's job id, found by its comment if the launcher died before recording it.

        A folder that was removed and made again has the same comment, so the newest job counts;
        adopting one that has ended only means submitting it again. Records of older versions, which
        lack cluster and user, are completed.
        """
        cluster, user = self.noted.get("cluster", ""), self.noted.get("user", "")
        if (self.job and cluster) or cluster not in ("", jobs.cluster):
            return self.job
        found = {job.id.split("_")[0]: job.user for job in jobs.with_comment(self.comment)
                 if user in ("", job.user)}
        newest = self.job or max(found, key=int, default="")
        if newest in found:
            # a reader may lack write permission, and needs no record
            with suppress(PermissionError):
                self.folder.mkdir(parents=True, exist_ok=True)
                self.set_job(newest, cluster=jobs.cluster, user=found[newest])
        return self.job

    def rank_of(self, index: int, run: str) -> int:
        """Return the task that works on a run, by the name of its folder; 0 if all do.

        0 too where the list of the jobs is gone or damaged: a status table needs no more.
        """
        names = self.listed.get(str(index), [])
        place = next((number for number, (name, _) in enumerate(names) if name == run), 0)
        return place % self._content.lanes if names else 0

    def log(self, index: int, job_id: str, rank: int = 0) -> Path:
        """Return the path of a job's output."""
        return self.folder / f"{job_id}_{index}_{rank}.log"

    def marker(self, index: int, lane: int = 0) -> Path:
        """Return the file that a task of a job leaves when it finished; counted by the script."""
        return self.folder / MARKER.format(index=index, lane=lane)

    def record_ends(self, jobs: Jobs) -> None:
        """Record how jobs ended, since SLURM forgets it where there is no accounting."""
        self.adopt(jobs)
        found = [jobs.find(self.identity(index)) for index in self.indices]
        ended = {job.id: job.state for job in found if job.state and not job.may_live
                 and job.reason != NEVER_SATISFIED}  # its run waits; it was not cancelled
        if ended.items() - self.ends.items():
            write_json(self.folder / "ended.json", {**self.ends, **ended})
            del self.ends

    @cached_property
    def ends(self) -> dict[str, str]:
        """Job id -> SLURM's state of jobs known to have ended; read once."""
        try:
            found = read_object(self.folder / "ended.json")
        except (FileNotFoundError, NotRegular, ValueError):
            return {}
        return {job: state for job, state in found.items() if isinstance(state, str)}
