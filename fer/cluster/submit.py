"""Submission of array jobs to SLURM, without duplicates even if the launcher dies.

One launcher at a time submits into a store. A job's work is on disk before `sbatch` is called, and
the job has a comment by which the next launcher finds it, so no run is submitted twice. The lock is
inherited by `sbatch`: while an orphaned call still runs, no other launcher submits.
"""

import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fer.cluster.arrays import JobArray
from fer.cluster.sbatch import REPORT_MINUTES, Site, array_script, report_script
from fer.cluster.sbatch_call import Refused, sbatch, submit_script
from fer.config.paths import cache, data_root, home
from fer.config.profile import Profile
from fer.config.run import Data
from fer.errors import plural
from fer.locks import locked
from fer.study.plan import Step
from fer.study.run_folder import Store
from fer.study.slurm_jobs import Jobs
from fer.study.submission import SCRIPTS, Submission, next_number


@contextmanager
def submitting(store: Store) -> Iterator[int]:
    """Hold the lock for reading the queue and submitting; yield its descriptor for `sbatch`."""
    store.home.mkdir(parents=True, exist_ok=True)
    with locked(store.home / ".submitting.lock", content=False) as handle:
        yield handle


@dataclass(frozen=True)
class Submitted:
    """What a launcher submitted.

    Attributes:
        jobs: ids of the array jobs.
        runs: ids of their runs.
        wanted: number of runs that were to be submitted.
        limit: the cluster's reason for not accepting more; empty if everything was accepted.
    """

    jobs: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    wanted: int = 0
    limit: str = ""


@dataclass(frozen=True)
class Submitter:
    """Submits the array jobs of one study, or of one trial of a search, to one cluster.

    Attributes:
        name: name of the study or search.
        splits, data: what runs are evaluated on.
        place: name of the profile.
        code: the snapshot that jobs run.
        lock: descriptor from `submitting`.
        jobs: the queue as read under that lock.
        report_minutes: time limit of the report's job.
    """

    store: Store
    name: str
    splits: Mapping[str, str]
    data: Data
    place: str
    profile: Profile
    code: Path
    lock: int
    jobs: Jobs
    report_minutes: int = REPORT_MINUTES

    @property
    def folder(self) -> Path:
        """Folder of the study's scripts and logs."""
        return self.store.study(self.name) / SCRIPTS

    def submit(self, arrays: Sequence[JobArray], others: Sequence[str] = (),
               report: bool = True) -> Submitted:
        """Submit arrays, then the report.

        If a limit on the number of jobs is reached, the rest, including the report, is left for
        another call.

        Args:
            others: ids of earlier jobs that the report also waits for.
            report: whether to submit a report.

        Raises:
            Refused: SLURM refused a job for another reason; those submitted before it stay.
            SlurmUnavailable: SLURM does not respond.
        """
        site = site_of(self.name, self.code, self.profile)
        ids: dict[int, str] = {}
        sent: list[str] = []
        refusal: Refused | None = None
        for array in arrays:
            part, refusal = self._submit_most(array, site, ids)
            sent += [step.run.id for steps in part.values() for step in steps]
            if refusal is not None:
                break
        if report and (ids or others) and not (refusal and refusal.limit):
            try:  # also if another array was refused
                self._submit_report(site, [*ids.values(), *others])
            except Refused as error:
                refusal = refusal or error
        total = sum(array.runs for array in arrays)
        if refusal is not None and not refusal.limit:
            raise Refused(f"{len(sent)} of {plural(total, 'run')} are submitted; the same command "
                          f"submits the rest: {refusal}" if total else str(refusal), limit=False)
        return Submitted(tuple(ids.values()), tuple(sent), total, str(refusal or ""))

    def _submit_most(self, array: JobArray, site: Site, ids: dict[int, str]
                     ) -> tuple[Mapping[int, tuple[Step, ...]], Refused | None]:
        """Submit as many jobs of an array as SLURM accepts; return them and why not more."""
        indices, refusal = sorted(array.jobs), None
        while indices:
            part = replace(array, jobs={index: array.jobs[index] for index in indices})
            try:
                ids[array.number] = self._submit_array(part, site, ids)
                return part.jobs, refusal
            except Refused as error:
                refusal = error
                indices = indices[: len(indices) // 2] if error.limit else []
        return {}, refusal

    def _submit_array(self, array: JobArray, site: Site, ids: Mapping[int, str]) -> str:
        submission = next_submission(self.folder)
        script = array_script(array, submission.folder, submission.comment, self.profile, site, ids)
        folders = {step.run.id: self.store.folder(step.run)
                   for steps in array.jobs.values() for step in steps}
        submission.write(array.jobs, {key: one.name for key, one in folders.items()}, self.splits,
                         self.data, script, array.shape.lanes)
        where = str(submission.folder.relative_to(self.store.home))
        before = {key: folder.submitted for key, folder in folders.items()}
        for index, steps in array.jobs.items():
            for step in steps:
                folder = folders[step.run.id]
                folder.register(step.run, {"cluster": self.place, "submission": where,
                                           "index": index})
                folder.lease.free_if_dead(self.jobs)
        try:
            submission.set_job(sbatch(submission, self.place, self.lock))
        except Refused:
            for key, folder in folders.items():
                folder.unregister(before[key])
            raise
        return submission.job

    def _submit_report(self, site: Site, after: Sequence[str]) -> None:
        submission = next_submission(self.folder, "-report")
        submit_script(submission, report_script(
            submission.folder, submission.comment, self.profile, site, ":".join(after),
            self.report_minutes), self.place, self.lock)


def next_submission(scripts: Path, suffix: str = "") -> Submission:
    """Return the folder of the next submission of a study."""
    return Submission(scripts / f"{next_number(scripts):03}{suffix}")


def submission_folders(scripts: Path, arrays: int) -> list[Submission]:
    """Return the folders that the next arrays, and the report after them, will have."""
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
