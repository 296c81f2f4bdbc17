"""What was handed to SLURM: one folder a job, `studies/<study>/slurm/<number>/`.

The launcher writes `jobs.json` before it calls `sbatch`, and `job.json` with the job id after; one
that died in between finds its job again by the comment that the job carries. Run folders name their
submission and index, so a thousand runs cost one small file more. Not for making scripts or calling
`sbatch` (`fer.cluster`).
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import xxhash

from fer.config.load import dump
from fer.config.schema import Data
from fer.config.validate import validate
from fer.publish import read_json, write_json
from fer.study.jobs import NEVER_SATISFIED, Jobs
from fer.study.plan import Step

SCHEMA = 1


@dataclass(frozen=True)
class Work:
    """What one job of an array does: runs one after another, each with its evaluations.

    Attributes:
        runs: (folder name below `runs/`, splits to evaluate on).
        splits: `{split: content digest}` of all of them.
        data: the data sets in which the splits are.
    """

    runs: tuple[tuple[str, tuple[str, ...]], ...]
    splits: Mapping[str, str]
    data: Data


def next_number(scripts: Path) -> int:
    """Return the number of the next submission of a study; `scripts` is its folder `slurm/`."""
    numbers = [int(path.name.split("-")[0]) for path in scripts.glob("[0-9]*")]
    return max(numbers, default=0) + 1


class Submission:
    """The folder of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._job = ""  # once known it does not change, and a thousand runs ask for it

    @property
    def comment(self) -> str:
        """What the job carries as its comment: a function of where the folder is."""
        place = xxhash.xxh3_64_hexdigest(str(self.folder).encode())
        return f"fer:{self.folder.name}:{place}"  # short: squeue cuts what is long

    @property
    def script(self) -> Path:
        """The batch script, as it was submitted."""
        return self.folder / "script.sh"

    def write(self, work: Mapping[int, Sequence[Step]], folder_names: Mapping[str, str],
              splits: Mapping[str, str], data: Data, script: str) -> None:
        """Write what the jobs will read, durably, before anything is submitted.

        Args:
            work: array index -> steps of that job.
            folder_names: run id -> name of its folder.
        """
        self.folder.mkdir(parents=True)
        self.script.write_text(script, encoding="utf-8")
        write_json(self.folder / "jobs.json", {
            "schema": SCHEMA, "data": dump(data), "splits": dict(splits),
            "jobs": {index: [[folder_names[step.run.id], list(step.evaluate)] for step in steps]
                     for index, steps in work.items()}}, durable=True)

    def work_of(self, index: int) -> Work:
        """Return what job number `index` does."""
        content = self._content
        runs = tuple((name, tuple(splits)) for name, splits in content["jobs"][str(index)])
        data = validate(Data, content["data"], str(self.folder / "jobs.json"))
        return Work(runs, content["splits"], data)

    @cached_property
    def _content(self) -> Any:
        content = read_json(self.folder / "jobs.json")
        assert content["schema"] == SCHEMA, f"{self.folder}: schema {content['schema']}"
        return content

    @property
    def indices(self) -> list[int]:
        """Indices of the array's jobs."""
        return [int(index) for index in self._content["jobs"]]

    def set_job(self, job_id: str) -> None:
        """Record the id that SLURM gave to the array."""
        write_json(self.folder / "job.json", {"job": job_id}, durable=True)
        self._job = job_id

    @property
    def job(self) -> str:
        """The array's job id; empty where nothing is known to be submitted."""
        if not self._job:
            with suppress(FileNotFoundError):
                self._job = str(read_json(self.folder / "job.json")["job"])
        return self._job

    def adopt(self, jobs: Jobs) -> str:
        """Return the array's job id, found by its comment where the launcher died before noting it.

        A folder that was removed and made again has the comment of the first one: the newest job
        counts, and taking one that has ended only means that it is submitted again.
        """
        if not self.job:
            found = jobs.with_comment(self.comment)
            if found:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.set_job(max((job.id.split("_")[0] for job in found), key=int))
        return self.job

    def log(self, index: int, job_id: str, rank: int = 0) -> Path:
        """Return where a job's output is."""
        return self.folder / f"{job_id}_{index}_{rank}.log"

    def record_ends(self, jobs: Jobs) -> None:
        """Keep how jobs ended, for when SLURM has forgotten it and there is no accounting."""
        known = self.ends
        ended = {job.id: job.state for index in self.indices
                 if (job := jobs.by_id.get(f"{self.job}_{index}")) and not job.live
                 and job.reason != NEVER_SATISFIED}  # whose run is to wait, not to stay away
        if ended.items() - known.items():
            write_json(self.folder / "ended.json", {**known, **ended})

    @property
    def ends(self) -> dict[str, str]:
        """Job id -> SLURM's state of jobs that are known to have ended."""
        try:
            return dict(read_json(self.folder / "ended.json"))
        except FileNotFoundError:
            return {}
