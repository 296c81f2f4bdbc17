"""Submission of array jobs to SLURM, without duplicates even if the launcher dies.

One launcher at a time submits into a store. A job's work is on disk before `sbatch` is called, and
the job has a comment by which the next launcher finds it, so no run is submitted twice. The lock is
inherited by `sbatch`: while an orphaned call still runs, no other launcher submits.
"""

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import FailedSubmissionError

from fer.cluster.arrays import JobArray
from fer.cluster.executor import SlurmExecutor
from fer.cluster.profile_files import profile_file
from fer.cluster.sbatch import Site, array_script, report_script
from fer.config.paths import cache, data_root, home
from fer.config.profile import Profile
from fer.config.run import Data
from fer.errors import CallerError, choices
from fer.locks import locked
from fer.machine import user_name
from fer.study.plan import Step
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Jobs, ask, cluster_name, read_queue
from fer.study.submission import SCRIPTS, Submission, next_number

DEFAULT_MAX_ARRAY = 1001
MANY = 1000  # nodes, if sinfo prints a rounded number


@contextmanager
def submitting(store: Store) -> Iterator[int]:
    """Hold the lock for reading the queue and submitting; yield its descriptor for `sbatch`."""
    store.home.mkdir(parents=True, exist_ok=True)
    with locked(store.home / ".submitting.lock", content=False) as handle:
        yield handle


@dataclass(frozen=True)
class Submitter:
    """Submits the array jobs of one study, or of one trial of a search, to one cluster.

    Attributes:
        name: name of the study or search.
        splits, data: what runs are evaluated on.
        place: name of the profile.
        code: the snapshot that jobs run.
        lock: descriptor from `submitting`.
    """

    store: Store
    name: str
    splits: Mapping[str, str]
    data: Data
    place: str
    profile: Profile
    code: Path
    lock: int

    @property
    def folder(self) -> Path:
        """Folder of the study's scripts and logs."""
        return self.store.study(self.name) / SCRIPTS

    def submit(self, arrays: Sequence[JobArray], others: Sequence[str] = (),
               report: bool = True) -> list[str]:
        """Submit arrays, then the report; return the arrays' job ids.

        Args:
            others: ids of earlier jobs that the report also waits for.
            report: whether to submit a report.

        Raises:
            CallerError: SLURM refused a job; those submitted before it stay.
        """
        site = site_of(self.name, self.code, self.profile)
        folders = submission_folders(self.folder, len(arrays))
        ids: dict[int, str] = {}
        try:
            for array, submission in zip(arrays, folders, strict=False):
                ids[array.number] = self._submit_array(array, submission, site, ids)
        finally:  # also for the arrays before a refused one
            if report and (ids or others):
                self._submit_report(folders[-1], site, [*ids.values(), *others])
        return list(ids.values())

    def _submit_array(self, array: JobArray, submission: Submission, site: Site,
                      ids: Mapping[int, str]) -> str:
        script = array_script(array, submission.folder, submission.comment, self.profile, site, ids)
        names = {step.run.id: self.store.folder(step.run).name
                 for steps in array.jobs.values() for step in steps}
        submission.write(array.jobs, names, self.splits, self.data, script)
        where = str(submission.folder.relative_to(self.store.home))
        for index, steps in array.jobs.items():
            for step in steps:
                self.store.folder(step.run).register(
                    step.run, {"cluster": self.place, "submission": where, "index": index})
        submission.set_job(sbatch(submission, self.place, self.lock))
        return submission.job

    def _submit_report(self, submission: Submission, site: Site, after: Sequence[str]) -> None:
        submission.folder.mkdir(parents=True)
        submission.script.write_text(report_script(
            submission.folder, submission.comment, self.profile, site, ":".join(after)),
            encoding="utf-8")
        submission.set_job(sbatch(submission, self.place, self.lock))


def sbatch(submission: Submission, place: str, lock: int) -> str:
    """Submit the script of a submission and return the job id.

    Raises:
        CallerError: SLURM refused it.
    """
    submission.claim(cluster_name(), user_name())
    try:
        return SlurmExecutor(submission.folder, lock).start(submission.script).job_id
    except FailedSubmissionError as error:
        stderr = str(error)
    # sbatch failed, but SLURM may have accepted the job
    taken = [job for job in read_queue().with_comment(submission.comment) if job.live]
    if taken:
        return taken[0].id.split("_")[0]
    reason = "; ".join(line.removeprefix("sbatch: error: ") for line in stderr.splitlines()
                       if line.startswith("sbatch: error"))
    raise CallerError(f"profile {place}: sbatch refused {submission.script}: {reason or stderr}")


def submission_folders(scripts: Path, arrays: int) -> list[Submission]:
    """Return the folders of the next arrays and of the report after them."""
    first = next_number(scripts)
    names = [f"{first + number:03}" for number in range(arrays)]
    return [Submission(scripts / name) for name in (*names, f"{first + arrays:03}-report")]


def queued_arrays(steps: Iterable[Step]) -> list[str]:
    """Return the ids of the queued array jobs that still have runs of a study to do."""
    return sorted({step.job.split("_")[0] for step in steps if step.job})


def report_is_queued(scripts: Path, jobs: Jobs) -> bool:
    """Return whether the newest submission of a study is a pending report."""
    folders = [path for path in scripts.glob("[0-9]*") if path.is_dir()]
    newest = max(folders, key=lambda path: int(path.name.split("-")[0]), default=None)
    if newest is None or not newest.name.endswith("-report"):
        return False
    submission = Submission(newest)
    return bool(submission.adopt(jobs)) and jobs.find(submission.identity()).may_live


def site_of(study: str, code: Path, profile: Profile) -> Site:
    """Return the paths used by the jobs of a study."""
    places = {"FER_HOME": home(), "FER_DATA": data_root(), "FER_CACHE": cache()}
    return Site(study, code, profile.python or shlex.quote(sys.executable),
                {name: str(path) for name, path in places.items()})


def max_array_size() -> int:
    """Return the cluster's MaxArraySize; array indices are below it."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask(["scontrol", "show", "config"]) or "",
                      re.MULTILINE)
    return int(found[1]) if found else DEFAULT_MAX_ARRAY


def check_partitions(place: str, profile: Profile, nodes: int = 1) -> None:
    """Raise a `CallerError` if a partition of the profile does not exist or is too small.

    Args:
        nodes: nodes of one job. SLURM itself may accept a job larger than its partition, which
            then waits forever.
    """
    listing = ask(["sinfo", "--noheader", "--format=%P %D"])
    if listing is None:
        raise CallerError(f"profile {place}: SLURM does not respond; for details: "
                          f"python launch/doctor.py --cluster {place}")
    sizes: Counter[str] = Counter()  # a partition has one line per state of its nodes
    default = ""
    for name, count in (line.split() for line in listing.splitlines()):
        default = name.rstrip("*") if name.endswith("*") else default
        sizes[name.rstrip("*")] += int(count) if count.isdigit() else MANY  # such as 1.2K
    existing = set(sizes)
    for key in ("partition", "report_partition"):
        for name in (getattr(profile, key) or "").split(","):
            if name and name not in existing:
                raise CallerError(f"{profile_file(place)}: {key}: no partition '{name}' on "
                                  f"this cluster; there are: {choices(existing)}")
    wanted = (profile.partition or default).split(",")
    most = max(sizes[name] for name in wanted)
    if wanted != [""] and nodes > most:
        raise CallerError(f"resources: a job needs {nodes} nodes, but partition "
                          f"{' or '.join(wanted)} of {place} has {most}")
